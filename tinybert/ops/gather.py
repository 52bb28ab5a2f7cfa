"""torch's `gather` and `scatter_add`: elements chosen, or added to, along one axis."""

from __future__ import annotations

import math
from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.backend import Array, array_module, is_array
from tinybert.ops.arguments import normal_axis, operand
from tinybert.ops.indexing import checked_indices
from tinybert.ops.scatter import scatter_sum


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
        return _added(dy, self.grid, self.shape), None


@torch_keywords(dim="axis")
def gather(input: Any, axis: int, index: Any) -> Tensor:
    """Return out[i][j] = input[index[i][j]][j] for axis 0, and so on: torch's `gather`."""
    x = as_tensor(input)
    return Gather.apply(x, operand(index, x), axis=axis)


class ScatterAdd(Function):
    """y = a copy of x to which y[index[i][j]][j] += source[i][j] was added, for axis 0 and so on.

    Shapes   as in `Gather`; source may be longer than index; the rest is not used
    Oracle   torch.scatter_add; negative numbers count from the end

    dx = dy      dsource[i][j] = dy[index[i][j]][j], 0 for elements not used
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
        return x + _added(source[self.read], self.grid, x.shape)

    def backward(self, dy: Any) -> Any:
        need_x, _, need_source = self.needs_input_grad
        dsource = None
        if need_source:
            dsource = array_module(dy).zeros(self.source_shape, dy.dtype)
            dsource[self.read] = dy[self.grid]
        return dy if need_x else None, None, dsource


@torch_keywords(dim="axis", src="source")
def scatter_add(input: Any, axis: int, index: Any, source: Any) -> Tensor:
    """Return a copy of input with out[index[i][j]][j] += source[i][j], for axis 0 and so on."""
    x = as_tensor(input)
    return ScatterAdd.apply(x, operand(index, x), operand(source, x), axis=axis)


def _added(values: Array, grid: tuple[Array, ...], shape: tuple[int, ...]) -> Array:
    """Return zeros of `shape` to which `values` were added at the coordinates `grid`."""
    positions = _positions(grid, shape)
    return scatter_sum(values.reshape(-1), positions.reshape(-1), math.prod(shape)).reshape(shape)


def _grid(name: str, index: Any, shape: tuple[int, ...], axis: int) -> tuple[Array, ...]:
    """Return the coordinates of every element of `index` in an array of `shape`.

    There is one array an axis, `index` itself for `axis`; they broadcast to the shape of `index`.
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
    numbers, xp = checked_indices(index, axis, shape[axis]), array_module(index)
    return tuple(
        numbers if d == axis else xp.arange(n).reshape(n, *(1,) * (len(shape) - 1 - d))
        for d, n in enumerate(index.shape)
    )


def _positions(grid: tuple[Array, ...], shape: tuple[int, ...]) -> Array:
    """Return coordinates as positions in C order."""
    positions = grid[0]
    for coordinate, size in zip(grid[1:], shape[1:], strict=True):
        positions = positions * size + coordinate
    return positions
