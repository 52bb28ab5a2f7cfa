"""Choosing elements by number or by mask, and adding to chosen elements.

What is chosen once passes its gradient straight back; what is chosen several times collects it
(`scatter_add`). Assigning through repeated numbers would keep only the last one, so that is never
done. Numbers are checked before they are used, since a GPU library would wrap them silently.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, to_array
from tinybert.backend import Array, array_module, device_of, is_array, kernels_of
from tinybert.ops.arguments import normal_axis


class GetItem(Function):
    """y = x[index]: integers, slices, None, ..., integer arrays, boolean masks, and mixtures.

    Arrays may be Tensors, lists, or arrays of any device.
    Oracle   NumPy's indexing, also where a number between slices and arrays counts as an array

    dx = 0 where nothing was chosen, and the sum of dy over all places where an element went. An
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
            dx = kernels_of(dy).scatter_add_rows(rows, first.reshape(-1), self.shape[0])
            return dx.reshape(self.shape)
        size = math.prod(self.shape)
        places = xp.arange(size).reshape(self.shape)[self.index]
        return scatter_add(dy, places, size).reshape(self.shape)


class Gather(Function):
    """y[i][j] = x[index[i][j]][j] for axis 0, y[i][j] = x[i][index[i][j]] for axis 1, and so on.

    Shapes   x and index have equally many axes; index (and y) may be shorter except along `axis`
    Oracle   torch.gather; negative numbers count from the end

    dx[index[i][j]][j] += dy[i][j], and likewise for other axes.
    """

    def forward(self, x: Any, index: Any, *, axis: int) -> Any:
        self.shape = x.shape
        self.grid = _grid("gather", index, x.shape, axis)
        return x[self.grid]

    def backward(self, dy: Any) -> Any:
        dx = scatter_add(dy, _places(self.grid, self.shape), math.prod(self.shape))
        return dx.reshape(self.shape), None


class ScatterAdd(Function):
    """y = a copy of x to which y[index[i][j]][j] += source[i][j] was added, for axis 0 and so on.

    Shapes   as in `Gather`; source may be longer than index, what lies beyond is not read
    Oracle   torch.scatter_add; negative numbers count from the end

    dx = dy      dsource[i][j] = dy[index[i][j]][j], 0 for what was not read
    """

    def forward(self, x: Any, index: Any, source: Any, *, axis: int) -> Any:
        if not is_array(source) or source.dtype != x.dtype:
            given = source.dtype if is_array(source) else type(source).__name__
            raise TypeError(f"scatter_add: source must be {x.dtype} like the tensor, got {given}")
        self.grid = _grid("scatter_add", index, x.shape, axis)
        if source.ndim != x.ndim or any(
            i > s for i, s in zip(index.shape, source.shape, strict=True)
        ):
            raise ValueError(
                f"scatter_add: index of shape {index.shape} must not be larger than source of "
                f"shape {source.shape}"
            )
        self.source_shape = source.shape
        self.read = tuple(slice(size) for size in index.shape)
        return x + scatter_add(source[self.read], _places(self.grid, x.shape), x.size).reshape(
            x.shape
        )

    def backward(self, dy: Any) -> Any:
        need_x, _, need_source = self.needs_input_grad
        dsource = None
        if need_source:
            dsource = array_module(dy).zeros(self.source_shape, dy.dtype)
            dsource[self.read] = dy[self.grid]
        return dy if need_x else None, None, dsource


def scatter_add(values: Array, places: Array, count: int) -> Array:
    """out (count,) with out[places[i]] += values[i], in the dtype of `values`; places may repeat.

    The kernel adds in floating point: complex values go part by part, integers as rows of one.
    """
    values, places = values.reshape(-1), places.reshape(-1)
    kernels = kernels_of(values)
    if values.dtype.kind == "c":
        parts = (kernels.scatter_add_flat(v, places, count) for v in (values.real, values.imag))
        real, imaginary = parts
        return real + 1j * imaginary
    if values.dtype.kind != "f":
        return kernels.scatter_add_rows(values[:, None], places, count)[:, 0]
    return kernels.scatter_add_flat(values, places, count)


def normal_index(index: Any, x: Array) -> tuple[tuple[Any, ...], bool]:
    """`index` made ready for the array `x`, and whether it may name an element twice.

    The result holds one `...`, and integers and integer arrays that were checked; masks became the
    numbers of their True elements. Raises IndexError for a number out of range (naming it, the axis
    and its size), for too many axes and for a mask of the wrong shape; TypeError for other types.
    """
    parts = [_part(part, x) for part in (index if isinstance(index, tuple) else (index,))]
    dots = sum(part is Ellipsis for part in parts)
    if dots > 1:
        raise IndexError("index: '...' may stand only once")
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
            ready.append(_checked(part, axis, x.shape[axis]))
            repeats = True
        else:
            if isinstance(part, int) and not isinstance(part, bool):
                _check_number(part, axis, x.shape[axis])
            ready.append(part)
        axis += x.ndim - used if part is Ellipsis else _axes_used(part)
    return tuple(ready), repeats


def _part(part: Any, x: Array) -> Any:
    """One part of an index: arrays of any kind as arrays beside `x`, single numbers as numbers."""
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
    """How many axes of the indexed array a part stands for."""
    if is_array(part):
        return part.ndim if part.dtype.kind == "b" else 1
    return 0 if part is None or part is Ellipsis or isinstance(part, bool) else 1


def _is_whole(part: Any) -> bool:
    return isinstance(part, slice) and part == slice(None)


def _check_number(number: int, axis: int, size: int) -> None:
    if not -size <= number < size:
        raise IndexError(f"index {number} is out of range for axis {axis} of size {size}")


def _checked(numbers: Array, axis: int, size: int) -> Array:
    """A copy of `numbers`, all within the axis, counted from its start."""
    numbers = numbers.astype("int64")
    if numbers.size:
        for extreme in (numbers.min(), numbers.max()):
            _check_number(int(extreme), axis, size)
    return array_module(numbers).where(numbers < 0, numbers + size, numbers)


def _numbers_of_mask(mask: Array, axis: int, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """The True elements of `mask`, an integer array for each of its axes."""
    covered = shape[axis : axis + mask.ndim]
    if mask.shape != covered:
        raise IndexError(
            f"index: a mask of shape {mask.shape} does not fit axes {axis} to "
            f"{axis + mask.ndim - 1} of shape {shape}"
        )
    return mask.nonzero()


def _grid(name: str, index: Any, shape: tuple[int, ...], axis: int) -> tuple[Array, ...]:
    """For every place of `index` its coordinates in an array of `shape`: one array an axis, that of
    `axis` being `index` itself; they broadcast to the shape of `index`.
    """
    axis = normal_axis(axis, len(shape))
    if not is_array(index) or index.dtype.kind not in "iu":
        given = index.dtype if is_array(index) else type(index).__name__
        raise TypeError(f"{name}: index must be an integer tensor, got {given}")
    if index.ndim != len(shape) or any(
        i > n for d, (i, n) in enumerate(zip(index.shape, shape, strict=True)) if d != axis
    ):
        raise ValueError(
            f"{name}: index of shape {index.shape} needs the axes of shape {shape}, and may be no "
            f"longer, except along axis {axis}"
        )
    numbers, xp = _checked(index, axis, shape[axis]), array_module(index)
    return tuple(
        numbers if d == axis else xp.arange(n).reshape(n, *(1,) * (len(shape) - 1 - d))
        for d, n in enumerate(index.shape)
    )


def _places(grid: tuple[Array, ...], shape: tuple[int, ...]) -> Array:
    """Coordinates as numbers of elements in C order."""
    places = grid[0]
    for coordinate, size in zip(grid[1:], shape[1:], strict=True):
        places = places * size + coordinate
    return places
