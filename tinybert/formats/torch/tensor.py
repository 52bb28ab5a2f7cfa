"""A tensor of a PyTorch file: a window (offset, shape, strides) into a storage, read on demand.

Several tensors may share one storage: tied weights, slices of one buffer, a matrix and its
transpose. Every window is checked against its storage before it is read.
"""

import math
from dataclasses import dataclass

import numpy as np

from tinybert.formats.torch.bytes import Source
from tinybert.weights.dtypes import FORMATS
from tinybert.weights.reader import TensorInfo, check_out

_CHUNK = 1 << 18  # values converted at a time
_MAX_AXES = 32
_MAX_VALUES = 2**48
_FREE_VALUES = 1 << 20  # always allowed for a tensor that repeats its storage (``expand``)


@dataclass(eq=False, slots=True)
class Storage:
    """A flat run of numbers.

    Attributes
    ----------
    format : name in ``FORMATS``; None if only the tensors have it.
    nbytes : its size.
    source : its bytes; None until the file's layout is known.
    swapped : whether the file keeps its numbers big-endian.
    root, begin : for a view of another storage, that storage and the position in it.
    """

    format: str | None
    nbytes: int
    source: Source | None = None
    swapped: bool = False
    root: "Storage | None" = None
    begin: int = 0

    def locate(self) -> tuple[Source, int, bool]:
        """Return the source of the bytes, their position in it, and whether they are swapped."""
        holder = self.root or self
        assert holder.source is not None
        return holder.source, self.begin, holder.swapped


class LazyTensor:
    """A tensor that is still in the file.

    Attributes
    ----------
    info : format, shape, size in bytes.
    contiguous : whether its values are in the file in C order, without a gap.
    """

    __slots__ = ("_offset", "_span", "_storage", "_strides", "_width", "contiguous", "info")

    def __init__(
        self,
        storage: Storage,
        format: str,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> None:
        """Offset and strides count values. Raises ValueError for a window outside the storage."""
        self._width = FORMATS[format].bits // 8
        self._span = _check_window(storage, self._width, offset, shape, strides)
        self._storage, self._offset, self._strides = storage, offset, strides
        self.info = TensorInfo(format, shape, math.prod(shape) * self._width)
        steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        self.contiguous = self.info.nbytes == 0 or all(
            n == 1 or step == stride for n, step, stride in zip(shape, steps, strides, strict=True)
        )

    def __repr__(self) -> str:
        return f"LazyTensor({self.info.dtype}, shape={self.info.shape})"

    def read(self) -> np.ndarray:
        """Return a read-only array: a view of the mapped file if NumPy has the format and the bytes
        are aligned, else a new, widened array (see ``SafetensorsFile``)."""
        fmt = FORMATS[self.info.dtype]
        source, begin, swapped = self._storage.locate()
        begin += self._offset * self._width
        raw = source.view(begin, begin + self._span * self._width)
        if fmt.widen is None and not swapped and raw.ctypes.data % self._width == 0:
            values = raw.view(fmt.storage)
        else:
            values = np.empty(self._span, fmt.array)
            self._decode(0, values)
        strides = tuple(step * values.itemsize for step in self._strides)
        # NumPy checks once more that the strides stay within the buffer.
        array = np.ndarray(
            self.info.shape, values.dtype, values, 0, None if self.contiguous else strides
        )
        array.flags.writeable = False
        return array

    def read_into(self, out: np.ndarray) -> None:
        """Fill ``out`` with the tensor, cast to its dtype; see ``TensorReader.read_into``."""
        fmt = FORMATS[self.info.dtype]
        check_out("the tensor", self.info, out)
        source, _, _ = self._storage.locate()
        unpacked = source.held()  # until the last chunk is read
        with np.errstate(invalid="ignore"):  # a signaling NaN is allowed
            if self.contiguous and out.flags.c_contiguous:
                self._decode(0, out.reshape(-1))
            elif self.contiguous:
                for first in range(0, out.size, _CHUNK):
                    values = np.empty(min(_CHUNK, out.size - first), fmt.array)
                    self._decode(first, values)
                    out.flat[first : first + values.size] = values
            else:
                np.copyto(out, self.read(), casting="same_kind")
        del unpacked

    def _decode(self, first: int, out: np.ndarray) -> None:
        """Fill the flat ``out`` with values of the storage, starting at ``offset + first``."""
        fmt = FORMATS[self.info.dtype]
        source, begin, swapped = self._storage.locate()
        begin += (self._offset + first) * self._width
        if fmt.widen is None and not swapped and out.dtype == fmt.storage:
            source.read_into(begin, out.view(np.uint8))
            return
        for at in range(0, out.size, _CHUNK):
            values = np.empty(min(_CHUNK, out.size - at), fmt.storage)
            source.read_into(begin + at * self._width, values.view(np.uint8))
            if swapped:
                values.byteswap(inplace=True)
            out[at : at + values.size] = fmt.widen(values) if fmt.widen else values


def _check_window(
    storage: Storage, width: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> int:
    """Return the number of values of the storage from the tensor's first to its last."""
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides):
        raise ValueError("bad pickle: a tensor must have as many strides as sizes")
    if len(shape) > _MAX_AXES:
        raise ValueError(f"bad pickle: a tensor of over {_MAX_AXES} axes")
    if any(type(n) is not int or n < 0 for n in (offset, *shape, *strides)):
        raise ValueError("bad pickle: offset, shape and strides must be non-negative integers")
    held = storage.nbytes // width
    count = math.prod(shape)
    if math.prod(n or 1 for n in shape) > _MAX_VALUES or count > max(held, _FREE_VALUES):
        raise ValueError(f"bad pickle: a tensor of shape {shape} in a storage of {held} values")
    span = 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if count else 0
    if offset + span > held:
        raise ValueError(
            f"bad pickle: a tensor reaches to value {offset + span} of a storage that has {held}"
        )
    return span
