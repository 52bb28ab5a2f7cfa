"""The Kullback-Leibler divergence."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.mse_loss import PairLoss


class KLDiv(PairLoss, Function):
    """loss = t (log t - x) for log-probabilities x; 0 where t is 0. With log_target, t = exp(u).

    dx = -t dy      dt = (log t + 1 - x) dy      du = t (u + 1 - x) dy
    Reduction "batchmean" divides by the size of the first axis, "mean" by the number of elements.
    Oracle   torch.nn.functional.kl_div
    """

    def forward(self, x: Any, target: Any, *, reduction: str, log_target: bool) -> Any:
        x, target = self.operands("kl_div", x, target)
        xp = array_module(x)
        self.t = xp.exp(target) if log_target else target
        with np.errstate(divide="ignore", invalid="ignore"):
            self.log_ratio = (target if log_target else xp.log(target)) - x
            terms = self.t * self.log_ratio
        self.log_target = log_target
        losses = xp.where(self.t == 0, xp.zeros_like(terms), terms)
        if reduction == "batchmean":
            return self.reduce(losses, "mean", x.shape[0] if x.ndim else 1)
        return self.reduce(losses, reduction)

    def backward(self, dy: Any) -> Any:
        each = self.each(dy)
        factor = self.t if self.log_target else 1
        return self.operand_grad(
            lambda: -self.t * each, lambda: factor * (self.log_ratio + 1) * each
        )


def kl_div(input: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """Return target * (log target - input), for log-probabilities `input`.

    With `log_target`, target is log-probabilities as well. "batchmean" divides the sum by the size
    of the first axis: the divergence by its definition.
    """
    x = as_tensor(input)
    target = as_tensor(target, x.device)
    return KLDiv.apply(x, target, reduction=reduction, log_target=log_target)
