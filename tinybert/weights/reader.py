"""The interface of all readers of weights, and the choice of the reader that a file needs.

A reader is a mapping from names to arrays that reads an array when it is accessed. Models load all
kinds and numbers of files through it. Each kind of file registers itself with `register_format`.
"""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tinybert.weights.dtypes import FORMATS
from tinybert.weights.errors import CheckpointError

R = TypeVar("R", bound="TensorReader")
PREVIEW = 512  # bytes at the start of a file by which its kind is recognized
TAIL = 8  # bytes at its end, likewise
MAX_INDEX = 100_000_000  # bytes, as for the header of safetensors


class TensorInfo(NamedTuple):
    """One tensor of a file: the name of its format, such as ``"F32"``, shape, bytes in the file."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int


class TensorReader(Mapping[str, np.ndarray]):
    """The tensors of a file by name: ``reader[name]`` reads an array.

    ``metadata`` is the file's own dictionary of strings, ``format`` the name of the kind of file. A
    name that the file does not have raises KeyError.
    """

    format: str = "weights"
    metadata: dict[str, str]
    _named: Mapping[str, Any]  # what a subclass knows of each tensor, by its name

    @abstractmethod
    def info(self, name: str) -> TensorInfo:
        """Return format, shape and size of a tensor without reading its data."""

    @abstractmethod
    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` (same shape, any layout) with a tensor, cast to ``out.dtype``.

        The bytes are read straight into ``out`` or through a small buffer, so a model can fill its
        existing arrays and never has its weights in memory twice. Raises ValueError if the shapes
        differ or ``out`` is read-only, and TypeError if the cast would change the kind of number
        (complex to float, float to integer).
        """

    def mapped(self, name: str) -> np.ndarray | None:
        """Return a tensor as a **writable** memory map of the file; None if that is not possible.

        Changes stay in this process (copy on write). Pages are read from disk when they are first
        used, and shared with other processes that map the file.
        """
        return None

    def stored(self, name: str) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray] | None]:
        """Return a tensor in the format of the file, read-only and if possible memory-mapped, and
        the function that converts it, or a part of it, to numbers; None if that is not needed.
        """
        return self[name], None

    @abstractmethod
    def close(self) -> None:
        """Close the file(s). Arrays that were handed out stay valid."""

    def copy(self, name: str) -> np.ndarray:
        """Return a tensor as a new array that does not depend on the file, unlike ``[]``."""
        info = self.info(name)
        out = np.empty(info.shape, FORMATS[info.dtype].array)
        self.read_into(name, out)
        return out

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    # Mapping's own `in` would read a tensor, and its `==` all of them.
    def __contains__(self, name: object) -> bool:
        return name in self._named

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


def check_out(tensor: str, info: TensorInfo, out: np.ndarray) -> None:
    """Raise unless a tensor can be read into ``out``, see ``TensorReader.read_into``."""
    if out.shape != info.shape:
        raise ValueError(f"{tensor} has shape {info.shape}, out has {out.shape}")
    if not np.can_cast(FORMATS[info.dtype].array, out.dtype, "same_kind"):
        raise TypeError(f"{tensor} is {info.dtype}, which does not cast to {out.dtype}")
    if not out.flags.writeable:
        raise ValueError(f"out for {tensor} is read-only")


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
# By a `format` in the metadata, or by the part of a tensor's name after its last dot.
translations: dict[str, Callable[[TensorReader, Path], TensorReader]] = {}
_describers: list[Callable[[bytes, int], str | None]] = []


def register_format(file_format: FileFormat) -> None:
    """Let ``open_file`` recognize a kind of file, after those that are registered already."""
    file_formats.append(file_format)


def register_description(describe: Callable[[bytes, int], str | None]) -> None:
    """Add descriptions of files without weights to errors: f(first bytes, size) or None."""
    _describers.append(describe)


def description(first: bytes, size: int) -> str | None:
    """Return what a file is, told from its first ``PREVIEW`` bytes and its size, or None."""
    return next((text for describe in _describers if (text := describe(first, size))), None)


def open_file(path: str | os.PathLike[str]) -> TensorReader:
    """Return the reader over one file of weights, with PyTorch's names and plain numbers.

    See `open_stored`; quantised weights and names of other frameworks are translated. Raises
    CheckpointError for those that are unknown.
    """
    reader = open_stored(path)
    form = reader.metadata.get("format", "pt")
    marks = {form, *(name.rpartition(".")[2] for name in reader)}
    for translate in {translations[mark] for mark in marks & translations.keys()}:
        reader = translate(reader, Path(path))
    if form not in ("pt", "mlx", *translations):
        raise CheckpointError(path, f"has the weights of an unknown framework: {form!r:.80}")
    return reader


def open_stored(path: str | os.PathLike[str]) -> TensorReader:
    """Return the reader over one file of weights as it is, chosen by the file's content.

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
    return file_formats[0].open(path)


def _both_ends(path: Path) -> tuple[bytes, bytes]:
    """Return the first and the last bytes of a regular file; none for anything else."""
    if not path.is_file():
        return b"", b""
    with open(path, "rb") as file:
        first = file.read(PREVIEW)
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        return first, file.read()
