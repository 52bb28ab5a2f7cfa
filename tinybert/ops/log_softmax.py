"""The logarithm of softmax, and of a sum of exponentials."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.backend import array_module
from tinybert.ops.arguments import as_floating, normal_axes, normal_axis


class LogSoftmax(Function):
    """y = x - logsumexp(x) over one axis.

    Oracle   torch.log_softmax.   dx = dy - exp(y) * sum(dy).   Saved: y.
    """

    half_on = ""

    def forward(self, x: Any, *, axis: int) -> Any:
        self.axis = normal_axis(axis, x.ndim)
        x = as_floating(x)
        if not x.shape[self.axis]:
            self.y = x
            return self.y
        with np.errstate(invalid="ignore", under="ignore"):  # a row of -inf alone is nan
            shifted = x - x.max(axis=self.axis, keepdims=True)
            total = array_module(x).exp(shifted).sum(axis=self.axis, keepdims=True)
            self.y = shifted - array_module(x).log(total)  # small numbers, rounded less than x
        return self.y

    def backward(self, dy: Any) -> Any:
        return dy - array_module(dy).exp(self.y) * dy.sum(axis=self.axis, keepdims=True)


@torch_keywords(dim="axis")
def log_softmax(input: Any, axis: int = -1) -> Tensor:
    """Return x - logsumexp(x) over `axis`; a scalar counts as a vector of one element."""
    x = as_tensor(input)
    if x.ndim == 0:
        return log_softmax(x.reshape(1), axis).reshape(())
    return LogSoftmax.apply(x, axis=axis)


class LogSumExp(Function):
    """y = log(sum(exp(x))) over some axes. dx = dy * exp(x - y), the softmax.

    Oracle   torch.logsumexp
    """

    half_on = ""

    def forward(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        self.x = as_floating(x)
        axes = normal_axes(axis, x.ndim)
        self.y = _logsumexp(self.x, axes)  # reduced axes kept with size 1
        return (
            self.y
            if keepdims
            else self.y.reshape(tuple(n for i, n in enumerate(x.shape) if i not in axes))
        )

    def backward(self, dy: Any) -> Any:
        with np.errstate(invalid="ignore"):  # -inf - -inf is nan, as in torch
            return dy.reshape(self.y.shape) * array_module(dy).exp(self.x - self.y)


@torch_keywords(dim="axis", keepdim="keepdims")
def logsumexp(input: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return log(sum(exp(x))) over `axis`, without overflow; a scalar counts as a vector."""
    if as_tensor(input).ndim == 0 and axis is not None:
        return logsumexp(as_tensor(input).reshape(1), axis).reshape(())
    return LogSumExp.apply(as_tensor(input), axis=axis, keepdims=keepdims)


def _logsumexp(x: Any, axes: tuple[int, ...]) -> Any:
    """Return log(sum(exp(x))) over `axes`, kept with size 1; -inf for a sum over nothing."""
    xp = array_module(x)
    if any(x.shape[axis] == 0 for axis in axes):
        kept = tuple(1 if i in axes else size for i, size in enumerate(x.shape))
        return xp.full(kept, -xp.inf, dtype=x.dtype)
    top = x.max(axis=axes, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    with np.errstate(divide="ignore", under="ignore"):
        return xp.log(xp.exp(x - top).sum(axis=axes, keepdims=True)) + top
