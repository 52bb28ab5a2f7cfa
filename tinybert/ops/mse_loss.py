"""Mean squared error and mean absolute error (L1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, array_module
from tinybert.ops.arguments import as_floating, converted, widened
from tinybert.ops.loss import Loss


class PairLoss(Loss):
    """Mixin: prediction and target of one shape; the target takes the dtype of the prediction."""

    def operands(self, name: str, x: Any, target: Any) -> tuple[Array, Array]:
        """Return prediction and target in one dtype; ValueError unless their shapes agree."""
        if x.shape != target.shape:
            raise ValueError(
                f"{name}: target must have the shape {x.shape} of input, got {target.shape}"
            )
        x = as_floating(x)
        self.dtype = x.dtype
        x = widened(x)
        return x, target.astype(x.dtype, copy=False)

    def factor(self, name: str, value: Any, x: Array) -> Any:
        """Return a constant factor that broadcasts to `x`, 1 if it is None."""
        if value is None:
            return 1
        if np.broadcast_shapes(value.shape, x.shape) != x.shape:
            raise ValueError(f"{name} of shape {value.shape} does not broadcast to {x.shape}")
        return value.astype(x.dtype, copy=False)

    def operand_grad(self, dx: Any, dtarget: Any) -> tuple[Any, Any]:
        """Return the two gradients in the dtype of the prediction."""
        need = self.needs_input_grad  # type: ignore[attr-defined]
        return (
            converted(dx(), self.dtype) if need[0] else None,
            converted(dtarget(), self.dtype) if need[1] else None,
        )


class MSE(PairLoss, Function):
    """loss = (x - t)^2. dx = 2 (x - t) dy, dt = -dx.   Oracle   torch.nn.functional.mse_loss"""

    def forward(self, x: Any, target: Any, *, reduction: str) -> Any:
        x, target = self.operands("mse_loss", x, target)
        self.distance = x - target
        return self.reduce(self.distance * self.distance, reduction)

    def backward(self, dy: Any) -> Any:
        slope = 2 * self.distance * self.each(dy)
        return self.operand_grad(lambda: slope, lambda: -slope)


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Return (input - target)^2."""
    x = as_tensor(input)
    return MSE.apply(x, as_tensor(target, x.device), reduction=reduction)


class L1(PairLoss, Function):
    """loss = |x - t|. dx = sign(x - t) dy (0 where equal), dt = -dx.

    Oracle   torch.nn.functional.l1_loss
    """

    def forward(self, x: Any, target: Any, *, reduction: str) -> Any:
        x, target = self.operands("l1_loss", x, target)
        self.distance = x - target
        return self.reduce(array_module(x).abs(self.distance), reduction)

    def backward(self, dy: Any) -> Any:
        slope = array_module(dy).sign(self.distance) * self.each(dy)
        return self.operand_grad(lambda: slope, lambda: -slope)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Return |input - target|."""
    x = as_tensor(input)
    return L1.apply(x, as_tensor(target, x.device), reduction=reduction)
