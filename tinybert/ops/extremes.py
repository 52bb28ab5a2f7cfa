"""Maximum and minimum, and their indices (argmax, argmin)."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.backend import Array, array_module
from tinybert.ops.arguments import normal_axes, normal_axis, widened
from tinybert.ops.reductions import without_axes

_keywords = torch_keywords(dim="axis", keepdim="keepdims")


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
        return self.y if keepdims else self.y.reshape(without_axes(x.shape, self.axes))

    def share(self, dy: Any) -> Any:
        xp = array_module(dy)
        hit = (self.x == self.y) | (self.x != self.x)
        whole = widened(dy).reshape(self.y.shape)
        share = whole / hit.sum(axis=self.axes, keepdims=True).astype(whole.dtype)
        each = xp.broadcast_to(share.astype(dy.dtype, copy=False), hit.shape)
        return xp.where(hit, each, xp.zeros_like(each))


class Max(_Extreme, Function):
    """y = the largest of x over some axes.

    dx = dy / n for the n elements of x that equal y, 0 elsewhere.   Oracle   torch.amax
    """

    def forward(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        return self.extreme(x, axis, keepdims, "max")

    def backward(self, dy: Any) -> Any:
        return self.share(dy)


@_keywords
def max(input: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the largest value over `axis`; tied largest values share the gradient equally."""
    return Max.apply(as_tensor(input), axis=axis, keepdims=keepdims)


class Min(_Extreme, Function):
    """y = the smallest of x over some axes.

    dx = dy / n for the n elements of x that equal y, 0 elsewhere.   Oracle   torch.amin
    """

    def forward(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        return self.extreme(x, axis, keepdims, "min")

    def backward(self, dy: Any) -> Any:
        return self.share(dy)


@_keywords
def min(input: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the smallest value over `axis`; tied smallest values share the gradient equally."""
    return Min.apply(as_tensor(input), axis=axis, keepdims=keepdims)


class ArgMax(Function):
    """The index (int64) of the first largest element along `axis`, or in the flattened array.

    It is piecewise constant: no gradient flows.   Oracle   torch.argmax, numpy.argmax
    """

    def forward(self, x: Any, *, axis: int | None, keepdims: bool) -> Any:
        return _first_index("argmax", x, axis, keepdims)

    def backward(self, dy: Any) -> Any:
        return None


@_keywords
def argmax(input: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Return the index of the (first) largest value over `axis`, or in the flattened tensor."""
    return ArgMax.apply(as_tensor(input), axis=axis, keepdims=keepdims)


class ArgMin(Function):
    """The index (int64) of the first smallest element along `axis`, or in the flattened array.

    It is piecewise constant: no gradient flows.   Oracle   torch.argmin, numpy.argmin
    """

    def forward(self, x: Any, *, axis: int | None, keepdims: bool) -> Any:
        return _first_index("argmin", x, axis, keepdims)

    def backward(self, dy: Any) -> Any:
        return None


@_keywords
def argmin(input: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Return the index of the (first) smallest value over `axis`, or in the flattened tensor."""
    return ArgMin.apply(as_tensor(input), axis=axis, keepdims=keepdims)


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
    return index.reshape(kept if keepdims else without_axes(x.shape, axes))
