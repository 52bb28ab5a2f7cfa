"""A reader for tensors that are stored as raw bytes in one or several files.

Formats with their own directory (HDF5, TensorFlow's bundles, MessagePack) differ only in how they
store the positions of a tensor's bytes. Their readers make a ``Span`` for each tensor.
``SpanReader`` makes arrays of them, and transposes kernels, which are (in, out) in these frameworks
and (out, in) in PyTorch. It does not depend on a format or on the names of tensors.
"""

import math
import mmap
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from tinybert.weights.dtypes import FORMATS
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import TensorInfo, TensorReader, check_out

_CHUNK = 1 << 18  # values converted at a time


@dataclass(frozen=True)
class Piece:
    """``size`` bytes of the reader's ``file``-th file, starting at byte ``begin``."""

    file: int
    begin: int
    size: int


@dataclass(frozen=True)
class Span:
    """One tensor on disk.

    Attributes
    ----------
    dtype : name of its format, a key of ``FORMATS``.
    shape : as stored, in C order.
    pieces : the positions of its bytes, in order.
    transposed : whether the tensor is the transpose of the stored array.
    big_endian : byte order of the values.
    """

    dtype: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    transposed: bool = False
    big_endian: bool = False

    @property
    def storage(self) -> np.dtype:
        """The NumPy type of the bytes in the file."""
        return FORMATS[self.dtype].storage.newbyteorder(">" if self.big_endian else "<")

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.storage.itemsize

    @property
    def info(self) -> TensorInfo:
        """Format, shape and size of the tensor, after transposing."""
        shape = self.shape[::-1] if self.transposed else self.shape
        return TensorInfo(self.dtype, shape, self.nbytes)


def kernel_is_transposed(path: str, name: str, shape: Sequence[int]) -> bool:
    """Return True: the "kernel" (in, out) of a dense layer is transposed to (out, in). Raises
    CheckpointError for kernels of convolutions, which are not supported.
    """
    if len(shape) != 2:
        raise CheckpointError(
            path,
            f"kernel {name!r:.120} has {len(shape)} axes: only dense layers are supported",
        )
    return True


class SpanReader(TensorReader):
    """Reads tensors of the open ``files`` at the positions in ``spans``; `close` closes the files.

    ``reader[name]`` is a **read-only** array: a view of the memory-mapped file if NumPy has the
    format and the bytes are aligned, else a new array. Raises CheckpointError if a span is not
    within its file, or if the spans have more bytes in total than the files.
    """

    def __init__(
        self,
        path: str,
        files: Sequence[BinaryIO],
        spans: Mapping[str, Span],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.metadata = dict(metadata or {})
        self._files = tuple(files)
        self._named = dict(spans)
        self._maps: dict[int, mmap.mmap] = {}
        self._lock = threading.Lock()
        self._sizes = [os.fstat(file.fileno()).st_size for file in self._files]
        for name, span in self._named.items():
            self._check(name, span)
        total = sum(span.nbytes for span in self._named.values())
        if total > sum(self._sizes):
            raise CheckpointError(
                path, f"describes {total} bytes of tensors, but has only {sum(self._sizes)}"
            )

    def _check(self, name: str, span: Span) -> None:
        if len(span.shape) > 32:  # the limit of NumPy 1, far beyond any model
            raise CheckpointError(self.path, f"tensor {name!r:.120} has {len(span.shape)} axes")
        if math.prod(size for size in span.shape if size) >= 1 << 60:
            raise CheckpointError(
                self.path,
                f"tensor {name!r:.120} has a shape that no array can have: {span.shape}",
            )
        stored = sum(piece.size for piece in span.pieces)
        if stored != span.nbytes:
            raise CheckpointError(
                self.path,
                f"tensor {name!r:.120}: {span.dtype} of shape {span.shape} takes {span.nbytes} "
                f"bytes, but {stored} are stored",
            )
        for piece in span.pieces:
            if (
                piece.begin < 0
                or piece.size < 0
                or piece.begin + piece.size > self._sizes[piece.file]
            ):
                raise CheckpointError(
                    self.path,
                    f"is truncated: tensor {name!r:.120} ends at byte {piece.begin + piece.size} "
                    f"of a file of {self._sizes[piece.file]}",
                )

    def close(self) -> None:
        """Close the files. Arrays that were returned stay valid."""
        for file in self._files:
            file.close()
        self._maps.clear()

    def __del__(self) -> None:
        for file in getattr(self, "_files", ()):
            file.close()

    def info(self, name: str) -> TensorInfo:
        """Return format, shape and size of a tensor without reading its data."""
        return self._span(name).info

    def __getitem__(self, name: str) -> np.ndarray:
        span = self._span(name)
        fmt = FORMATS[span.dtype]
        mapped = self._view(span) if fmt.widen is None and span.storage == fmt.array else None
        if mapped is not None:
            array = mapped.T if span.transposed else mapped
        else:
            array = np.empty(span.info.shape, fmt.array)
            self.read_into(name, array)
        array.flags.writeable = False
        return array

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` with a tensor, cast to its dtype; see ``TensorReader.read_into``."""
        span = self._span(name)
        fmt = FORMATS[span.dtype]
        check_out(f"tensor {name!r:.200}", span.info, out)
        target = out.T if span.transposed else out
        if fmt.widen is None and out.dtype == span.storage and target.flags.c_contiguous:
            self._read(span, 0, target.reshape(-1).view(np.uint8))
            return
        target = target.reshape(1) if target.ndim == 0 else target  # still a view
        row = math.prod(target.shape[1:])  # values
        step = max(1, _CHUNK // max(1, row))
        for first in range(0, len(target), step):
            rows = min(step, len(target) - first)
            values = np.empty((rows, *target.shape[1:]), span.storage)
            begin = first * row * span.storage.itemsize
            self._read(span, begin, values.reshape(-1).view(np.uint8))
            target[first : first + rows] = fmt.widen(values) if fmt.widen else values

    def _span(self, name: str) -> Span:
        if name not in self._named:
            raise KeyError(f"{self.path} has no tensor {name!r:.200}")
        return self._named[name]

    def _view(self, span: Span) -> np.ndarray | None:
        """Return the stored array as a view of the mapping; None if that is not possible."""
        if len(span.pieces) != 1 or span.nbytes == 0:
            return None
        piece = span.pieces[0]
        if piece.begin % span.storage.itemsize:
            return None
        with self._lock:
            if piece.file not in self._maps:
                self._maps[piece.file] = mmap.mmap(
                    self._files[piece.file].fileno(), 0, access=mmap.ACCESS_READ
                )
            mapping = self._maps[piece.file]
        if len(mapping) < piece.begin + piece.size:
            raise CheckpointError(self.path, "was truncated after it was opened")
        return np.ndarray(span.shape, span.storage, mapping, piece.begin)

    def _read(self, span: Span, begin: int, out: np.ndarray) -> None:
        """Fill the uint8 array ``out`` with the tensor's stored bytes starting at ``begin``."""
        for piece in span.pieces:
            if begin < piece.size and out.size:
                count = min(out.size, piece.size - begin)
                self._read_piece(piece, begin, out[:count])
                out, begin = out[count:], 0
            else:
                begin -= min(begin, piece.size)

    def _read_piece(self, piece: Piece, begin: int, out: np.ndarray) -> None:
        file = self._files[piece.file]
        with self._lock:
            file.seek(piece.begin + begin)
            done = 0
            while done < out.size:
                count = file.readinto(out.data[done:])  # type: ignore[attr-defined]
                if not count:
                    raise CheckpointError(self.path, "was truncated after it was opened")
                done += count
