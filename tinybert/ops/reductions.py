"""Reductions: many numbers to few, over one axis, several, or all.

A sum gives each of its terms the whole gradient, so backward repeats dy along the reduced axes
(`_spread`). float16 is added up in float32; sums of integers and booleans are int64, as in torch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.autograd import Function
from tinybert.backend import Array, array_module
from tinybert.ops.arguments import as_floating, normal_axes, normal_axis


class Sum(Function):
    """y = sum of x over some axes. dx = dy, repeated along them.   Oracle   torch.sum"""

    def forward(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        self.shape, self.axes = x.shape, normal_axes(axis, x.ndim)
        return x.sum(axis=self.axes, keepdims=keepdims, dtype=_sum_dtype(x)).astype(
            _result_dtype(x), copy=False
        )

    def backward(self, dy: Any) -> Any:
        return _spread(array_module(dy), dy, self.axes, self.shape)


class Mean(Function):
    """y = the sum of x over some axes / count. dx = dy / count, repeated along them.

    Integers give the default dtype; the mean of nothing is nan.   Oracle   torch.mean
    """

    def forward(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        x = as_floating(x)
        self.shape, self.axes = x.shape, normal_axes(axis, x.ndim)
        self.count = math.prod(x.shape[i] for i in self.axes)
        return _mean(x, self.axes, self.count, keepdims).astype(x.dtype, copy=False)

    def backward(self, dy: Any) -> Any:
        share = (widened(dy) / max(self.count, 1)).astype(dy.dtype, copy=False)
        return _spread(array_module(dy), share, self.axes, self.shape)


class Var(Function):
    """y = sum |x - mean(x)|^2 / (count - ddof) over some axes.

    Oracle   torch.var with correction=ddof; nan or infinite, as there, if count <= ddof

    dx = dy * 2 (x - mean) / (count - ddof). The path through the mean adds nothing, because the
    sum of (x - mean) that stands before it is 0.   Saved: x - mean.
    """

    def forward(self, x: Any, *, axis: Any, keepdims: bool, ddof: int) -> Any:
        x = as_floating(x)
        xp = array_module(x)
        self.shape, self.axes, self.dtype = x.shape, normal_axes(axis, x.ndim), x.dtype
        count = math.prod(x.shape[i] for i in self.axes)
        self.divisor = max(count - ddof, 0)
        self.centred = widened(x) - _mean(x, self.axes, count, keepdims=True)
        squares = xp.abs(self.centred) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            y = squares.sum(axis=self.axes, keepdims=keepdims) / self.divisor
        return y.astype(x.real.dtype, copy=False)

    def backward(self, dy: Any) -> Any:
        xp = array_module(dy)
        scale = 2 / self.divisor if self.divisor else math.inf
        with np.errstate(invalid="ignore"):
            dx = self.centred * scale * _spread(xp, widened(dy), self.axes, self.shape)
        return dx.astype(self.dtype, copy=False)


class _Extreme:
    """Mixin for Max and Min: where the extreme value occurs several times, all share dy equally.

    nan counts as extreme, as in NumPy and torch; it shares only with other nans.
    """

    x: Array
    y: Array  # the extreme values, reduced axes kept with size 1
    axes: tuple[int, ...]

    def extreme(self, x: Any, axis: Any, keepdims: bool, reduce: str) -> Any:
        self.x, self.axes = x, normal_axes(axis, x.ndim)
        _refuse_empty(type(self).__name__.lower(), x, self.axes)
        self.y = getattr(array_module(x), reduce)(x, axis=self.axes, keepdims=True)
        return self.y if keepdims else self.y.reshape(_without(x.shape, self.axes))

    def share(self, dy: Any) -> Any:
        xp = array_module(dy)
        hit = (self.x == self.y) | (self.x != self.x)
        count = hit.sum(axis=self.axes, keepdims=True).astype(dy.dtype)
        each = xp.broadcast_to(dy.reshape(self.y.shape) / count, hit.shape)
        return xp.where(hit, each, xp.zeros_like(each))


class Max(_Extreme, Function):
    """y = the largest of x over some axes.

    dx = dy / n at the n places where x equals y, 0 elsewhere.   Oracle   torch.amax
    """

    def forward(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        return self.extreme(x, axis, keepdims, "max")

    def backward(self, dy: Any) -> Any:
        return self.share(dy)


class Min(_Extreme, Function):
    """y = the smallest of x over some axes.

    dx = dy / n at the n places where x equals y, 0 elsewhere.   Oracle   torch.amin
    """

    def forward(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        return self.extreme(x, axis, keepdims, "min")

    def backward(self, dy: Any) -> Any:
        return self.share(dy)


class ArgMax(Function):
    """The index (int64) of the first largest element along `axis`, or in the flattened array.

    It is piecewise constant: no gradient flows.   Oracle   torch.argmax, numpy.argmax
    """

    def forward(self, x: Any, *, axis: int | None, keepdims: bool) -> Any:
        return _first_index("argmax", x, axis, keepdims)

    def backward(self, dy: Any) -> Any:
        return None


class ArgMin(Function):
    """The index (int64) of the first smallest element along `axis`, or in the flattened array.

    It is piecewise constant: no gradient flows.   Oracle   torch.argmin, numpy.argmin
    """

    def forward(self, x: Any, *, axis: int | None, keepdims: bool) -> Any:
        return _first_index("argmin", x, axis, keepdims)

    def backward(self, dy: Any) -> Any:
        return None


class CumSum(Function):
    """y_i = x_0 + ... + x_i along `axis`; None flattens first.

    x_j is part of every y_i with i >= j, so dx_j = the sum of dy_i from j on: the running sum of
    dy taken from the end.   Oracle   torch.cumsum
    """

    def forward(self, x: Any, *, axis: int | None) -> Any:
        self.shape = x.shape
        x = x.reshape(-1) if axis is None else x
        self.axis = normal_axis(0 if axis is None else axis, x.ndim)
        return x.cumsum(axis=self.axis, dtype=_sum_dtype(x)).astype(_result_dtype(x), copy=False)

    def backward(self, dy: Any) -> Any:
        backwards = (*(slice(None),) * self.axis, slice(None, None, -1))
        sums = dy[backwards].cumsum(axis=self.axis, dtype=_sum_dtype(dy))[backwards]
        return sums.astype(dy.dtype, copy=False).reshape(self.shape)


def widened(x: Any) -> Any:
    """A float16 array in float32, in which sums of it are taken; any other array as it is."""
    return x.astype("float32") if x.dtype == "float16" else x


def _sum_dtype(x: Any) -> Any:
    """The dtype to add up in."""
    return np.dtype("float32") if x.dtype == "float16" else _result_dtype(x)


def _result_dtype(x: Any) -> Any:
    """The dtype of a sum: that of x, int64 for booleans and the smaller integers."""
    return x.dtype if x.dtype.kind in "fc" or x.dtype == "uint64" else np.dtype("int64")


def _mean(x: Any, axes: tuple[int, ...], count: int, keepdims: bool) -> Any:
    """The mean in the dtype that is added up in; nan, without a warning, of nothing."""
    total = x.sum(axis=axes, keepdims=keepdims, dtype=_sum_dtype(x))
    return total / count if count else total + math.nan


def _without(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for i, size in enumerate(shape) if i not in axes)


def _spread(xp: Any, dy: Any, axes: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """dy repeated, without a copy, along the axes that were reduced from `shape`."""
    kept = tuple(1 if i in axes else size for i, size in enumerate(shape))
    return xp.broadcast_to(dy.reshape(kept), shape)


def _refuse_empty(name: str, x: Any, axes: tuple[int, ...]) -> None:
    """Raise if there is nothing to choose from."""
    empty = [i for i in axes if x.shape[i] == 0]
    if empty:
        raise ValueError(f"{name}: axis {empty[0]} of shape {x.shape} is empty, it has no {name}")


def _first_index(name: str, x: Any, axis: int | None, keepdims: bool) -> Any:
    axes = normal_axes(None, x.ndim) if axis is None else (normal_axis(axis, x.ndim),)
    _refuse_empty(name, x, axes)
    index = getattr(array_module(x), name)(x, axis=None if axis is None else axes[0])
    kept = tuple(1 if i in axes else size for i, size in enumerate(x.shape))
    return index.reshape(kept if keepdims else _without(x.shape, axes))
