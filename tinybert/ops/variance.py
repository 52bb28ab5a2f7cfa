"""The variance and the standard deviation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.backend import array_module
from tinybert.ops.arguments import as_floating, normal_axes
from tinybert.ops.reductions import mean_of, spread

_keywords = torch_keywords(dim="axis", keepdim="keepdims", correction="ddof", unbiased="ddof")


class Var(Function):
    """y = sum |x - mean(x)|^2 / (count - ddof) over some axes.

    Oracle   torch.var with correction=ddof; nan or infinite, as there, if count <= ddof

    dx = dy * 2 (x - mean) / (count - ddof). The path through the mean adds nothing, because the
    sum of (x - mean) in it is 0.   Saved: x - mean.
    """

    half_on = ""

    def forward(self, x: Any, *, axis: Any, keepdims: bool, ddof: int) -> Any:
        x = as_floating(x)
        xp = array_module(x)
        self.shape, self.axes = x.shape, normal_axes(axis, x.ndim)
        count = math.prod(x.shape[i] for i in self.axes)
        self.divisor = max(count - ddof, 0)
        self.centred = x - mean_of(x, self.axes, count, keepdims=True)
        squares = xp.abs(self.centred) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            return squares.sum(axis=self.axes, keepdims=keepdims) / self.divisor

    def backward(self, dy: Any) -> Any:
        xp = array_module(dy)
        scale = 2 / self.divisor if self.divisor else math.inf
        with np.errstate(invalid="ignore"):
            return self.centred * scale * spread(xp, dy, self.axes, self.shape)


class Std(Var):
    """y = sqrt(var x) over some axes.

    Oracle   torch.std with correction=ddof

    dx = dy * (x - mean) / ((count - ddof) y). Where y is 0 it is 0, one of the subgradients.
    """

    def forward(self, x: Any, *, axis: Any, keepdims: bool, ddof: int) -> Any:
        self.y = array_module(x).sqrt(super().forward(x, axis=axis, keepdims=keepdims, ddof=ddof))
        return self.y

    def backward(self, dy: Any) -> Any:
        xp = array_module(dy)
        root = xp.where(self.y == 0, xp.full_like(dy, math.inf), self.y)
        return super().backward(dy / (2 * root))


@_keywords
def var(input: Any, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """Return the variance over `axis`: squared distances from the mean / (count - ddof)."""
    return Var.apply(as_tensor(input), ddof=ddof, axis=axis, keepdims=keepdims)


@_keywords
def std(input: Any, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """Return the square root of the variance."""
    return Std.apply(as_tensor(input), ddof=ddof, axis=axis, keepdims=keepdims)
