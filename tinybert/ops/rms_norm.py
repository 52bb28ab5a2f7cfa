"""Normalisation by the root mean square: RMSNorm and MEGA's ScaleNorm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.arguments import as_floating, sum_dtype, trailing_shape, unbroadcast


class RMSNorm(Function):
    """y = x * r * weight with r = 1 / sqrt(mean(x^2) + eps): LayerNorm without the mean.

    Shapes   x, y (..., D)   weight (D,) or None
    Source   Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4;  Oracle  torch.nn.functional.rms_norm

    With g = dy * weight:   dx = r * (g - x * r^2 * mean(g * x)),   dweight = sum dy * x * r over
    rows.
    """

    half_on = ""

    def forward(self, x: Any, weight: Any, *, width: int, eps: float) -> Any:
        xp, x = array_module(x), as_floating(x)
        self.shape = x.shape
        self.rows = x.reshape(x.size // max(width, 1), width)
        self.weight = weight
        self.r = 1 / xp.sqrt(
            (self.rows * self.rows).sum(axis=-1, keepdims=True) / max(width, 1) + eps
        )  # (rows, 1)
        y = self.rows * self.r
        return (y if weight is None else y * weight.reshape(-1)).reshape(x.shape)

    def backward(self, dy: Any) -> Any:
        x, r = self.rows, self.r
        dy = dy.reshape(x.shape)
        g = dy if self.weight is None else dy * self.weight.reshape(-1)
        slope = (g * x).sum(axis=-1, keepdims=True) / max(x.shape[-1], 1)
        dx = r * (g - x * (r * r * slope))
        dweight = (
            unbroadcast(dy * x * r, x.shape[1:]).reshape(self.weight.shape)
            if self.needs_input_grad[1]
            else None
        )
        return dx.reshape(self.shape), dweight


def rms_norm(
    input: Any,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Return input with its last axes divided by the root of their mean square.

    The result is scaled by `weight`. `eps` is added to the mean square; None means the smallest
    step of the dtype that it is computed in, as in torch.
    """
    x = as_tensor(input)
    shape = trailing_shape("rms_norm", x, normalized_shape, weight)
    width = math.prod(shape)
    dtype = sum_dtype(as_floating(x.data))
    eps = float(array_module(x.data).finfo(dtype).eps) if eps is None else eps
    return RMSNorm.apply(x, weight, width=width, eps=eps)


class ScaleNorm(Function):
    """y = scale * x / sqrt(mean(x^2) + eps) with one number for all features (MEGA's form of
    ScaleNorm).

    Shapes   x, y (..., D)   scale () or (1,)
    Source   Nguyen & Salazar 2019, arXiv:1910.05895, eq. 5, with the mean of squares in place of
    their sum

    With r = 1 / sqrt(mean(x^2) + eps):   dx = scale * r * (dy - x * r^2 * mean(dy * x)),   dscale =
    sum dy * x * r.
    """

    half_on = ""

    def forward(self, x: Any, scale: Any, *, eps: float) -> Any:
        self.x, self.scale = x, scale
        self.r = 1 / array_module(x).sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
        return x * self.r * scale

    def backward(self, dy: Any) -> Any:
        x, r = self.x, self.r
        dx = self.scale * r * (dy - x * (r * r * (dy * x).mean(axis=-1, keepdims=True)))
        return dx, (dy * x * r).sum().reshape(self.scale.shape)


def scale_norm(input: Any, scale: Tensor, eps: float = 1e-6) -> Tensor:
    """Return scale * x / sqrt(mean(x^2) + eps) over the last axis, with one number `scale`."""
    return ScaleNorm.apply(as_tensor(input), scale, eps=eps)
