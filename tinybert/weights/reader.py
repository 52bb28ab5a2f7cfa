"""The interface of all readers of weights, and the choice of the reader that a file needs.

A reader is a mapping from names to arrays that reads an array when it is asked for; models load
through it and need not know what kind of file it reads, nor whether it is one file or twenty.
Each kind of file registers itself with `register_format`.
"""

import os
import stat
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

import numpy as np

from tinybert.weights.dtypes import FORMATS
from tinybert.weights.errors import CheckpointError

R = TypeVar("R", bound="TensorReader")
PREVIEW = 512  # how many bytes from the start of a file its kind is recognized by
TAIL = 8  # and how many from its end


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


class FileFormat(NamedTuple):
    """A kind of weight file.

    Attributes
    ----------
    names : what such files are called in a model folder, the preferred name first.
    matches : f(path, first ``PREVIEW`` bytes, last ``TAIL`` bytes), whether the path is of this
        kind; the bytes are empty where the path is not a regular file.
    open : returns the reader over a path.
    """

    names: tuple[str, ...]
    matches: Callable[[Path, bytes, bytes], bool]
    open: Callable[[Path], TensorReader]


file_formats: list[FileFormat] = []  # in the order in which they are preferred; safetensors first
_describers: list[Callable[[bytes, int], str | None]] = []


def register_format(file_format: FileFormat) -> None:
    """Let ``open_file`` recognize a kind of file, after those that are registered already."""
    file_formats.append(file_format)


def register_description(describe: Callable[[bytes, int], str | None]) -> None:
    """Let errors say what a file is that holds no weights: f(first bytes, size) or None."""
    _describers.append(describe)


def description(first: bytes, size: int) -> str | None:
    """Return what a file is, told from its first ``PREVIEW`` bytes and its size, or None."""
    return next((text for describe in _describers if (text := describe(first, size))), None)


def open_file(path: str | os.PathLike[str]) -> TensorReader:
    """Return the reader over one file of weights, chosen by the file's content.

    A file of no known kind is opened as safetensors, whose error then says what it is. Raises
    FileNotFoundError when there is no such path, CheckpointError for a malformed file and for
    what is not a file, ImportError with the command to install what its format needs.
    """
    path = Path(path)
    first, last = _both_ends(path)
    for file_format in file_formats:
        if file_format.matches(path, first, last):
            return file_format.open(path)
    if path.is_dir():
        names = ", ".join(name for file_format in file_formats for name in file_format.names)
        raise CheckpointError(path, f"has no weights: none of {names}")
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
        raise CheckpointError(path, "is not a regular file")
    return file_formats[0].open(path)


def _both_ends(path: Path) -> tuple[bytes, bytes]:
    """The first and the last bytes of a regular file; none of anything else."""
    if not path.is_file():
        return b"", b""
    with open(path, "rb") as file:
        first = file.read(PREVIEW)
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        return first, file.read()
