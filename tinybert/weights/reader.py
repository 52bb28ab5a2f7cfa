"""The interface of every lazy weight reader: a mapping from names to arrays that reads when asked.

Models load through it and need not know whether one file or twenty lie beneath.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, TypeVar

import numpy as np

from tinybert.weights.dtypes import FORMATS

R = TypeVar("R", bound="TensorReader")


class TensorInfo(NamedTuple):
    """What the file says of one tensor: format name such as ``"F32"``, shape, bytes in the file."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int


class TensorReader(Mapping[str, np.ndarray]):
    """Named tensors on disk. ``reader[name]`` gives the array; ``keys()``, ``items()``, ``in``
    and ``len`` work.

    ``metadata`` is the file's own str-to-str dictionary, ``format`` the name of the kind of file. A
    name that the file lacks raises KeyError.
    """

    format: str = "weights"
    metadata: dict[str, str]

    @abstractmethod
    def info(self, name: str) -> TensorInfo:
        """Format, shape and size of a tensor; its data are not touched."""

    @abstractmethod
    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` (same shape, any layout) with a tensor, cast to ``out.dtype``.

        The bytes come through a small buffer or straight into ``out``, so a model can fill the
        arrays that it has already and never hold its weights twice. Raises ValueError when the
        shapes differ and TypeError when the cast would change the kind of number (complex to
        float, float to integer).
        """

    def mapped(self, name: str) -> np.ndarray | None:
        """A tensor as a **writable** array whose memory is the file's until it is written to, or
        None if the reader cannot give one.

        What is written stays in this process (copy on write); what is only read is fetched when it
        is first touched, and shared with whoever else has the file mapped.
        """
        return None

    def stored(self, name: str) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray] | None]:
        """A tensor as it lies in the file, read-only and if possible memory-mapped, and what widens
        it, or a part of it, to numbers; None if they are numbers already.
        """
        return self[name], None

    @abstractmethod
    def close(self) -> None:
        """Close the file(s). Arrays that were handed out stay valid."""

    def copy(self, name: str) -> np.ndarray:
        """A tensor as a fresh array; unlike ``[]``, it leaves nothing of the file in memory."""
        info = self.info(name)
        out = np.empty(info.shape, FORMATS[info.dtype].array)
        self.read_into(name, out)
        return out

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """(name, array) pairs, one read at a time."""
        return iter(self.items())

    # Mapping would load a tensor to answer `in`, and compare all of them to answer `==`.
    @abstractmethod
    def __contains__(self, name: object) -> bool: ...

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __enter__(self: R) -> R:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Selection(TensorReader):
    """Some tensors of another reader, in the order given, and as lazy as it.

    Closing the selection leaves the reader open.
    """

    def __init__(self, reader: TensorReader, names: Iterable[str]) -> None:
        self._reader = reader
        self._names = dict.fromkeys(names)
        self.metadata = reader.metadata

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> np.ndarray:
        return self._reader[self._own(name)]

    def info(self, name: str) -> TensorInfo:
        """As that of the reader beneath."""
        return self._reader.info(self._own(name))

    def read_into(self, name: str, out: np.ndarray) -> None:
        """As that of the reader beneath."""
        self._reader.read_into(self._own(name), out)

    def stored(self, name: str) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray] | None]:
        """As that of the reader beneath."""
        return self._reader.stored(self._own(name))

    def close(self) -> None:
        """Nothing: the reader belongs to whoever opened it."""

    def _own(self, name: str) -> str:
        if name not in self._names:
            raise KeyError(f"the selection has no tensor {name!r}")
        return name
