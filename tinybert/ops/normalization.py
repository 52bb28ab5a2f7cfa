"""Normalisations: LayerNorm, RMSNorm, ScaleNorm and BatchNorm."""

from __future__ import annotations

import math
from typing import Any

from tinybert.autograd import Function
from tinybert.backend import array_module, kernels_of


class LayerNorm(Function):
    """Bring every feature vector to mean 0 and variance 1, then scale and shift it.

        x_hat = (x - mean(x)) / sqrt(var(x) + eps)          y = x_hat * weight + bias

    Shapes   x, y (..., D)   weight, bias (D,); D may stand for several trailing axes
    Source   Ba, Kiros & Hinton 2016, arXiv:1607.06450, eq. 3-4
    Oracle   torch.nn.functional.layer_norm: biased variance, eps inside the root

    Backward, with rstd = 1 / sqrt(var + eps) and dx_hat = dy * weight:

        dbias = sum dy      dweight = sum dy * x_hat      (over all rows)
        dx = rstd * (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat))

    The two means are the paths through mean(x) and var(x): to shift or to stretch all of x leaves
    x_hat as it is, so these two directions are taken out of dx_hat. Saved: x_hat and rstd, not x.
    float16 is computed in float32.
    """

    def forward(self, x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
        xp = array_module(x)
        if weight is not None and x.shape[x.ndim - weight.ndim :] != weight.shape:
            raise ValueError(
                f"layer_norm: x of shape {x.shape} must end in the normalised shape {weight.shape}"
            )
        wide = x.dtype if x.dtype != "float16" else xp.float32
        self.shape, self.weight_shape = x.shape, weight.shape
        self.weight = weight.reshape(-1).astype(wide, copy=False)
        shift = (
            xp.zeros_like(self.weight)
            if bias is None
            else bias.reshape(-1).astype(wide, copy=False)
        )
        count = math.prod(x.shape[: x.ndim - weight.ndim])
        rows = x.reshape(count, weight.size).astype(wide, copy=False)
        y, self.x_hat, self.rstd = kernels_of(x).layer_norm(rows, self.weight, shift, eps)
        return y.reshape(x.shape).astype(x.dtype, copy=False)

    def backward(self, dy: Any) -> Any:
        rows = dy.reshape(self.x_hat.shape).astype(self.x_hat.dtype, copy=False)
        dx, dweight, dbias = kernels_of(dy).layer_norm_backward(
            rows, self.x_hat, self.rstd, self.weight
        )
        need = self.needs_input_grad
        return (
            dx.reshape(self.shape),
            dweight.reshape(self.weight_shape) if need[1] else None,
            dbias.reshape(self.weight_shape) if need[2] else None,
        )


class RMSNorm(Function):
    """y = x * r * weight with r = 1 / sqrt(mean(x^2) + eps): LayerNorm without the mean.

    Shapes   x, y (..., D)   weight (D,) or None
    Source   Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4;  Oracle  torch.nn.functional.rms_norm

    With g = dy * weight:   dx = r * (g - x * r^2 * mean(g * x)),   dweight = sum dy * x * r over
    rows.
    """

    def forward(self, x: Any, weight: Any, *, width: int, eps: float) -> Any:
        xp = array_module(x)
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
        dx = r * (g - x * (r * r * (g * x).mean(axis=-1, keepdims=True)))
        dweight = (
            (dy * x * r).sum(axis=0).reshape(self.weight.shape)
            if self.needs_input_grad[1]
            else None
        )
        return dx.reshape(self.shape), dweight


class ScaleNorm(Function):
    """y = scale * x / sqrt(mean(x^2) + eps) with one number for all features (MEGA's form of
    ScaleNorm).

    Shapes   x, y (..., D)   scale () or (1,)
    Source   Nguyen & Salazar 2019, arXiv:1910.05895, eq. 5, with the mean of squares in place of
    their sum

    With r = 1 / sqrt(mean(x^2) + eps):   dx = scale * r * (dy - x * r^2 * mean(dy * x)),   dscale =
    sum dy * x * r.
    """

    def forward(self, x: Any, scale: Any, *, eps: float) -> Any:
        self.x, self.scale = x, scale
        self.r = 1 / array_module(x).sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
        return x * self.r * scale

    def backward(self, dy: Any) -> Any:
        x, r = self.x, self.r
        dx = self.scale * r * (dy - x * (r * r * (dy * x).mean(axis=-1, keepdims=True)))
        return dx, (dy * x * r).sum().reshape(self.scale.shape)


class BatchNorm(Function):
    """Bring every channel to mean 0 and variance 1 over the batch, then scale and shift it.

    Shapes   x, y (B, C, ...)   weight, bias, mean, var (C,); given `mean` and `var` are constants
    (evaluation)
    Source   Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1;  Oracle
    torch.nn.functional.batch_norm

    In training the backward is LayerNorm's with the mean over batch and positions instead of
    features; in evaluation mean and var do not depend on x, and dx = dy * weight * rstd.
    """

    def forward(
        self, x: Any, weight: Any, bias: Any, *, mean: Any = None, var: Any = None, eps: float
    ) -> Any:
        xp = array_module(x)
        self.over = (0, *range(2, x.ndim))
        self.shape = (1, -1, *(1,) * (x.ndim - 2))
        self.training = mean is None
        if mean is None:
            mean = x.mean(axis=self.over)
            var = ((x - mean.reshape(self.shape)) ** 2).mean(axis=self.over)
        self.rstd = (1 / xp.sqrt(var + eps)).reshape(self.shape)
        self.x_hat = (x - mean.reshape(self.shape)) * self.rstd
        self.weight = 1 if weight is None else weight.reshape(self.shape)
        y = self.x_hat * self.weight
        return y if bias is None else y + bias.reshape(self.shape)

    def backward(self, dy: Any) -> Any:
        x_hat, over = self.x_hat, self.over
        dx_hat = dy * self.weight
        if self.training:
            count = math.prod(dy.shape[axis] for axis in over)
            total = dx_hat.sum(axis=over, keepdims=True)
            slope = (dx_hat * x_hat).sum(axis=over, keepdims=True)
            dx_hat = dx_hat - (total + x_hat * slope) / max(count, 1)
        need = self.needs_input_grad
        dweight = (dy * x_hat).sum(axis=over) if need[1] else None
        return dx_hat * self.rstd, dweight, dy.sum(axis=over) if need[2] else None
