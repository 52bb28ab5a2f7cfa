"""Sums and means over one axis, several, or all.

A sum gives each of its terms the whole gradient, so backward repeats dy along the reduced axes
(`spread`). float16 is added up in float32; sums of integers and booleans are int64, as in torch.
"""

from __future__ import annotations

import math
from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.backend import array_module
from tinybert.ops.arguments import (
    as_floating,
    converted,
    normal_axes,
    result_dtype,
    sum_dtype,
    widened,
)
from tinybert.ops.copies import to


class Sum(Function):
    """y = sum of x over some axes. dx = dy, repeated along them.   Oracle   torch.sum"""

    def forward(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        self.shape, self.axes = x.shape, normal_axes(axis, x.ndim)
        total = x.sum(axis=self.axes, keepdims=keepdims, dtype=sum_dtype(x))
        return converted(total, result_dtype(x))

    def backward(self, dy: Any) -> Any:
        return spread(array_module(dy), dy, self.axes, self.shape)


@torch_keywords(dim="axis", keepdim="keepdims")
def sum(input: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the sum over `axis`; `dtype`, if given, is that of the terms and the result."""
    return to(Sum.apply(to(input, dtype=dtype), axis=axis, keepdims=keepdims), dtype=dtype)


class Mean(Function):
    """y = the sum of x over some axes / count. dx = dy / count, repeated along them.

    Integers give the default dtype; the mean of nothing is nan.   Oracle   torch.mean
    """

    def forward(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        x = as_floating(x)
        self.shape, self.axes = x.shape, normal_axes(axis, x.ndim)
        self.count = math.prod(x.shape[i] for i in self.axes)
        return mean_of(x, self.axes, self.count, keepdims).astype(x.dtype, copy=False)

    def backward(self, dy: Any) -> Any:
        share = (widened(dy) / max(self.count, 1)).astype(dy.dtype, copy=False)
        return spread(array_module(dy), share, self.axes, self.shape)


@torch_keywords(dim="axis", keepdim="keepdims")
def mean(input: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the mean over `axis`."""
    return Mean.apply(as_tensor(input), axis=axis, keepdims=keepdims)


def mean_of(x: Any, axes: tuple[int, ...], count: int, keepdims: bool) -> Any:
    """Return the mean, in the dtype in which x is summed; the mean of nothing is nan."""
    total = x.sum(axis=axes, keepdims=keepdims, dtype=sum_dtype(x))
    return total / count if count else total + math.nan


def without_axes(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return `shape` without `axes`."""
    return tuple(size for i, size in enumerate(shape) if i not in axes)


def spread(xp: Any, dy: Any, axes: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """Return dy repeated, without a copy, along the axes that were reduced from `shape`."""
    kept = tuple(1 if i in axes else size for i, size in enumerate(shape))
    return xp.broadcast_to(dy.reshape(kept), shape)
