"""Batch normalisation."""

from __future__ import annotations

import math
from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.arguments import check_shape, widened


class BatchNorm(Function):
    """Bring every channel to mean 0 and variance 1 over the batch, then scale and shift it.

        y = (x - mean) * rstd * weight + bias          rstd = 1 / sqrt(var + eps)

    Shapes   x, y (B, C, ...)   weight, bias, mean, var (C,); if `mean` and `var` are given, they
             are constants (evaluation)
    Source   Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1
    Oracle   torch.nn.functional.batch_norm

    In training the backward is LayerNorm's with the mean over batch and positions instead of
    features; in evaluation mean and var do not depend on x, and dx = dy * weight * rstd.
    """

    half_on = ""

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


def batch_norm(
    input: Any,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return input (B, C, ...) with every channel brought to mean 0 and variance 1 over the batch.

    In training the running statistics, if given, move by `momentum` towards those of the batch (the
    unbiased variance); otherwise they are what normalises.
    """
    x = as_tensor(input)
    if x.ndim < 2:
        raise ValueError(f"batch_norm: input must be (B, C, ...), got shape {x.shape}")
    for name, given in (
        ("running_mean", running_mean),
        ("running_var", running_var),
        ("weight", weight),
        ("bias", bias),
    ):
        check_shape("batch_norm", name, given, x.shape[1:2])
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: running_mean and running_var are needed unless training")
        mean, var = running_mean.data, running_var.data
        return BatchNorm.apply(x, weight, bias, mean=mean, var=var, eps=eps)
    count = x.size // max(x.shape[1], 1)
    if count <= 1:
        raise ValueError(f"batch_norm: more than one value a channel is needed, got {x.shape}")
    if running_mean is not None and running_var is not None:
        axes = (0, *range(2, x.ndim))
        wide = widened(x.data)
        mean, var = wide.mean(axis=axes), wide.var(axis=axes) * (count / (count - 1))
        for running, batch in ((running_mean, mean), (running_var, var)):
            running.mul_(1 - momentum).add_(batch * momentum)
    return BatchNorm.apply(x, weight, bias, eps=eps)
