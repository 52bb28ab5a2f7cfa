"""RMSNorm and ScaleNorm, which divide by the root mean square, and BatchNorm."""

from __future__ import annotations

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor, get_default_device, get_default_dtype
from tinybert.nn import init
from tinybert.nn.module import Module, Parameter


class ScaleNorm(Module):
    """y = scalar * x / sqrt(mean(x^2) + eps) over the last axis.

    Args:
        eps: added to the mean square. affine: whether there is a `scalar` (1,); else it is 1.
    """

    def __init__(self, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.scalar = Parameter(init.full((1,), 1.0)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Return y (..., D) for x (..., D)."""
        if self.scalar is None:
            return F.rms_norm(x, (x.shape[-1],), None, self.eps)
        return F.scale_norm(x, self.scalar, self.eps)


class RMSNorm(Module):
    """y = weight * x / sqrt(mean(x^2) + eps) over the last axis.

    Args:
        size: D. eps: added to the mean square. affine: whether there is a `weight` (D,).
    """

    def __init__(self, size: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.size, self.eps = size, eps
        self.weight = Parameter(init.full((size,), 1.0)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Return y (..., D) for x (..., D)."""
        return F.rms_norm(x, (self.size,), self.weight, self.eps)


class BatchNorm(Module):
    """Normalizes every feature to mean 0 and variance 1.

    In training, mean and variance are those of all steps of the batch, and running averages of both
    are updated. In evaluation, the running averages are used.

    Args:
        size: D. eps: added to the variance. momentum: the weight of a new batch in the averages.
        affine: whether there are a `weight` and a `bias` (D,).

    Buffers: running_mean, running_var (D,) and num_batches_tracked (), as in torch's BatchNorm1d.
    """

    def __init__(
        self, size: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True
    ) -> None:
        super().__init__()
        self.size, self.eps, self.momentum = size, eps, momentum
        self.weight = Parameter(init.full((size,), 1.0)) if affine else None
        self.bias = Parameter(init.full((size,), 0.0)) if affine else None
        # Not by `init`: these values hold also inside `skip_init`.
        for name, value in (
            ("running_mean", np.zeros(size, get_default_dtype())),
            ("running_var", np.ones(size, get_default_dtype())),
            ("num_batches_tracked", np.zeros((), np.int64)),
        ):
            self.register_buffer(name, as_tensor(value).to(get_default_device()))

    def forward(self, x: Tensor) -> Tensor:
        """Return y (B, T, D) for x (B, T, D); the statistics include padding."""
        if x.ndim != 3 or x.shape[2] != self.size:
            raise ValueError(f"BatchNorm: x must have shape (B, T, {self.size}), got {x.shape}")
        if self.training:
            self.num_batches_tracked.add_(1)
        y = F.batch_norm(
            x.transpose(1, 2), self.running_mean, self.running_var, self.weight, self.bias,
            self.training, self.momentum, self.eps,
        )  # fmt: skip
        return y.transpose(1, 2)
