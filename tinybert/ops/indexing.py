"""Choosing elements by index, slice or mask: x[index].

An element that is chosen once gets the gradient of its copy; one that is chosen several times gets
their sum (`scatter_sum`). Assignment to repeated indices would keep only the last one. Indices are
checked before use, since a GPU library would wrap them silently.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor, to_array
from tinybert.backend import Array, array_module, device_of, is_array
from tinybert.ops.scatter import scatter_sum


class GetItem(Function):
    """y = x[index]: integers, slices, None, ..., integer arrays, boolean masks, and mixtures.

    Arrays may be Tensors, lists, or arrays of any device.
    Oracle   NumPy's indexing, also where a number between slices and arrays counts as an array

    dx = 0 where nothing was chosen, and the sum of dy over all results that an element went to. An
    integer array may name an element twice; slices and masks cannot, there assigning is enough.
    """

    def forward(self, x: Any, *, index: Any) -> Any:
        self.shape = x.shape
        self.index, self.repeats = normal_index(index, x)
        return x[self.index]

    def backward(self, dy: Any) -> Any:
        xp = array_module(dy)
        if not self.repeats:
            dx = xp.zeros(self.shape, dy.dtype)
            dx[self.index] = dy
            return dx
        first, *others = self.index
        if is_array(first) and all(part is Ellipsis or _is_whole(part) for part in others):
            rows = dy.reshape(first.size, math.prod(self.shape[1:]))
            return scatter_sum(rows, first.reshape(-1), self.shape[0]).reshape(self.shape)
        size = math.prod(self.shape)
        positions = xp.arange(size).reshape(self.shape)[self.index]
        dx = scatter_sum(dy.reshape(-1), positions.reshape(-1), size)
        return dx.reshape(self.shape)


def get_item(input: Any, index: Any) -> Tensor:
    """Return input[index]."""
    return GetItem.apply(as_tensor(input), index=index)


def nonzero(input: Any) -> Tensor:
    """Return the indices of all elements that are not 0, (N, ndim) integers, in order."""
    array = as_tensor(input).data
    xp = array_module(array)
    return as_tensor(xp.stack(xp.nonzero(array), axis=-1))


def normal_index(index: Any, x: Array) -> tuple[tuple[Any, ...], bool]:
    """Return `index` made ready for the array `x`, and whether it may name an element twice.

    The result holds one `...` and checked integers and integer arrays; a mask becomes the indices
    of its True elements. Raises IndexError for a number out of range (naming it, the axis
    and its size), for too many axes and for a mask of the wrong shape; TypeError for other types.
    """
    parts = [_part(part, x) for part in (index if isinstance(index, tuple) else (index,))]
    dots = sum(part is Ellipsis for part in parts)
    if dots > 1:
        raise IndexError("index: '...' may occur only once")
    parts += [Ellipsis] * (1 - dots)
    used = sum(_axes_used(part) for part in parts)
    if used > x.ndim:
        raise IndexError(f"index: {used} axes are indexed, but shape {x.shape} has {x.ndim}")
    ready: list[Any] = []
    axis, repeats = 0, False
    for part in parts:
        if is_array(part) and part.dtype.kind == "b":
            ready += _numbers_of_mask(part, axis, x.shape)
        elif is_array(part):
            ready.append(checked_indices(part, axis, x.shape[axis]))
            repeats = True
        else:
            if isinstance(part, int) and not isinstance(part, bool):
                check_index(part, axis, x.shape[axis])
            ready.append(part)
        axis += x.ndim - used if part is Ellipsis else _axes_used(part)
    return tuple(ready), repeats


def _part(part: Any, x: Array) -> Any:
    """Return one part of an index: an array of any kind as an array on the device of `x`."""
    if part is None or part is Ellipsis or isinstance(part, (slice, bool)):
        return part
    if isinstance(part, (Tensor, list, tuple)) or is_array(part) or hasattr(part, "__array__"):
        if isinstance(part, (list, tuple)):
            part = list(part) if len(part) else np.zeros(0, "int64")
        array = to_array(part)
        if array.dtype.kind not in "biu":
            raise TypeError(f"index must be integers or booleans, got {array.dtype}")
        return to_array(array, device=device_of(x)) if array.ndim else Tensor(array).item()
    try:
        return operator.index(part)
    except TypeError:
        raise TypeError(
            "index must be made of integers, slices, None, '...', or arrays, Tensors and lists of "
            f"integers or booleans, got {type(part).__name__}"
        ) from None


def _axes_used(part: Any) -> int:
    """Return how many axes of the indexed array a part indexes."""
    if is_array(part):
        return part.ndim if part.dtype.kind == "b" else 1
    return 0 if part is None or part is Ellipsis or isinstance(part, bool) else 1


def _is_whole(part: Any) -> bool:
    return isinstance(part, slice) and part == slice(None)


def check_index(number: int, axis: int, size: int) -> None:
    """Raise IndexError unless -size <= number < size."""
    if not -size <= number < size:
        raise IndexError(f"index {number} is out of range for axis {axis} of size {size}")


def checked_indices(numbers: Array, axis: int, size: int) -> Array:
    """Return a copy of `numbers`, all within the axis, negative ones counted from its start."""
    numbers = numbers.astype("int64")
    if numbers.size:
        for extreme in (numbers.min(), numbers.max()):
            check_index(int(extreme), axis, size)
    return array_module(numbers).where(numbers < 0, numbers + size, numbers)


def _numbers_of_mask(mask: Array, axis: int, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """Return the indices of the True elements of `mask`, an array for each of its axes."""
    covered = shape[axis : axis + mask.ndim]
    if mask.shape != covered:
        raise IndexError(
            f"index: a mask of shape {mask.shape} does not fit axes {axis} to "
            f"{axis + mask.ndim - 1} of shape {shape}"
        )
    return mask.nonzero()
