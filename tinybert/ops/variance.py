"""The variance and the standard deviation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.backend import array_module
from tinybert.ops.arguments import as_floating, normal_axes, widened
from tinybert.ops.exponential import sqrt
from tinybert.ops.reductions import mean_of, spread

_keywords = torch_keywords(dim="axis", keepdim="keepdims", correction="ddof", unbiased="ddof")


class Var(Function):
    """y = sum |x - mean(x)|^2 / (count - ddof) over some axes.

    Oracle   torch.var with correction=ddof; nan or infinite, as there, if count <= ddof

    dx = dy * 2 (x - mean) / (count - ddof). The path through the mean adds nothing, because the
    sum of (x - mean) in it is 0.   Saved: x - mean.
    """

    def forward(self, x: Any, *, axis: Any, keepdims: bool, ddof: int) -> Any:
        x = as_floating(x)
        xp = array_module(x)
        self.shape, self.axes, self.dtype = x.shape, normal_axes(axis, x.ndim), x.dtype
        count = math.prod(x.shape[i] for i in self.axes)
        self.divisor = max(count - ddof, 0)
        self.centred = widened(x) - mean_of(x, self.axes, count, keepdims=True)
        squares = xp.abs(self.centred) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            y = squares.sum(axis=self.axes, keepdims=keepdims) / self.divisor
        return y.astype(x.real.dtype, copy=False)

    def backward(self, dy: Any) -> Any:
        xp = array_module(dy)
        scale = 2 / self.divisor if self.divisor else math.inf
        with np.errstate(invalid="ignore"):
            dx = self.centred * scale * spread(xp, widened(dy), self.axes, self.shape)
        return dx.astype(self.dtype, copy=False)


@_keywords
def var(input: Any, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """Return the variance over `axis`: squared distances from the mean / (count - ddof)."""
    return Var.apply(as_tensor(input), ddof=ddof, axis=axis, keepdims=keepdims)


@_keywords
def std(input: Any, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """Return the square root of the variance."""
    return sqrt(var(input, axis, keepdims, ddof))
