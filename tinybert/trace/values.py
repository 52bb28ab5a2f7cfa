"""`Value`: an array as it was when an operation used it or made it, with its statistics."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinybert.autograd.tensor import Version
from tinybert.backend import is_array, to_host

THUMBNAIL = 64  # rows and columns of what is kept of a large array
MASKED = 1e30  # numbers beyond are those of a mask


@dataclass(frozen=True)
class Statistics:
    """Numbers that describe an array; those of its finite elements alone, 0 if it has none.

    Attributes:
        mean, std, min, max: of the finite elements.
        zeros: the share of elements that are 0. nan, inf: the number of NaN and infinite elements.
    """

    mean: float
    std: float
    min: float
    max: float
    zeros: float
    nan: int
    inf: int

    @classmethod
    def of(cls, array: np.ndarray) -> Statistics:
        """Describe an array of any kind of number."""
        if array.size == 0:
            return cls(0.0, 0.0, 0.0, 0.0, 0.0, 0, 0)
        numbers = np.abs(array) if array.dtype.kind == "c" else array
        nan, inf = int(np.isnan(numbers).sum()), int(np.isinf(numbers).sum())
        zeros = float(np.mean(numbers == 0))
        finite = numbers[np.isfinite(numbers)] if nan or inf else numbers
        if finite.size == 0:
            return cls(0.0, 0.0, 0.0, 0.0, zeros, nan, inf)
        finite = finite.astype(np.float64, copy=False)
        return cls(
            float(finite.mean()), float(finite.std()), float(finite.min()), float(finite.max()),
            zeros, nan, inf,
        )  # fmt: skip


@dataclass(eq=False)
class Value:
    """An array of a step.

    Attributes:
        name: what the operation calls it: "x", "weight", "dy", "dx", "x_hat".
        shape, dtype: of the array. axes: a letter for each axis; see `axes.py`.
        parameter: the parameter's name in the model, or None.
        source: (step, output) whose result it is, or None.
        number: whether it is a Python number, which does not decide the dtype of a result.
        array: all elements, on the host; None if the record had no room for them. It must not be
            changed: the model may use the same memory.
        thumbnail: if there is no `array`, at most 64 x 64 of its numbers: for each block the one
            with the largest magnitude.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    axes: str = ""
    parameter: str | None = None
    source: tuple[int, int] | None = None
    number: bool = False
    array: np.ndarray | None = None
    thumbnail: np.ndarray | None = None
    _statistics: Statistics | None = field(default=None, repr=False)

    @classmethod
    def of(cls, name: str, array: Any, **details: Any) -> Value:
        """Return the value of an array on any device, not copied if it is on the host."""
        host = to_host(array) if is_array(array) else np.asarray(array)
        number = not is_array(array)
        return cls(name, host.shape, str(host.dtype), number=number, array=host, **details)

    def watch(self, version: Version) -> Value:
        """Copy the array before it is changed in place for the first time; return self."""
        alive = [reference for reference in version.before_change if reference() is not None]
        version.before_change = (*alive, weakref.WeakMethod(self.copy))
        return self

    def copy(self) -> None:
        """Make the array independent of the memory that the model uses."""
        if self.array is not None:
            self.array = self.array.copy()

    @property
    def argument(self) -> Any:
        """The array, or the number that it was."""
        return self.array.item() if self.number and self.array is not None else self.array

    @property
    def nbytes(self) -> int:
        """The bytes of the array that was recorded."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def statistics(self) -> Statistics:
        """The statistics of all elements."""
        if self._statistics is None:
            assert self.array is not None
            self._statistics = Statistics.of(self.array)
        return self._statistics

    @property
    def norm(self) -> float:
        """The square root of the sum of the squares of all finite elements."""
        found = self.statistics
        count = math.prod(self.shape) - found.nan - found.inf
        return math.sqrt(count) * math.hypot(found.mean, found.std)

    @property
    def reach(self) -> float:
        """The magnitude at which the colours of a picture end: the largest, but no more than 3
        standard deviations beyond the mean. A mask's lowest numbers, below -1e30, do not count.
        """
        found = self.statistics
        if found.std > MASKED and self.array is not None:
            found = Statistics.of(self.array[np.abs(self.array) < MASKED])
        largest = max(abs(found.min), abs(found.max))
        return min(largest, abs(found.mean) + 3 * found.std)

    def shrink(self) -> None:
        """Keep the statistics and a thumbnail alone."""
        if self.array is not None:
            self._statistics = self.statistics
            self.thumbnail, self.array = thumbnail(self.array), None


def thumbnail(array: np.ndarray, rows: int = THUMBNAIL, columns: int = THUMBNAIL) -> np.ndarray:
    """Return at most rows x columns numbers: of each block that with the largest magnitude.

    The last axis gives the columns, all others the rows. A block with a NaN is NaN.
    """
    flat = array.reshape(math.prod(array.shape[:-1]), array.shape[-1]) if array.ndim else array
    flat = np.atleast_2d(flat)
    for axis, most in enumerate((rows, columns)):
        if flat.shape[axis] > most:
            starts = np.unique(np.linspace(0, flat.shape[axis], most, endpoint=False, dtype=int))
            high, low = (f.reduceat(flat, starts, axis) for f in (np.maximum, np.minimum))
            flat = np.where(np.abs(low) > np.abs(high), low, high)
    return flat
