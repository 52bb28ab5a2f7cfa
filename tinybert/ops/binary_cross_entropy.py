"""Binary cross entropy: the loss of independent yes-or-no predictions."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.arguments import optional
from tinybert.ops.mse_loss import PairLoss


class BCEWithLogits(PairLoss, Function):
    """loss = -w [p t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))], with w weight, p pos_weight.

    Oracle   torch.nn.functional.binary_cross_entropy_with_logits

    With softplus(x) = log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), in which nothing overflows
    and nothing cancels, -log sigmoid(x) = softplus(-x) and -log(1 - sigmoid(x)) = softplus(x):

        loss = w [p t softplus(-x) + (1 - t) softplus(x)]
        dx = w [(1 - t) sigmoid(x) - p t sigmoid(-x)] dy
        dt = w [p softplus(-x) - softplus(x)] dy
    """

    def forward(
        self, x: Any, target: Any, weight: Any = None, pos_weight: Any = None, *, reduction: str
    ) -> Any:
        name = "binary_cross_entropy_with_logits"
        x, t = self.operands(name, x, target)
        xp = array_module(x)
        self.x, self.t = x, t
        self.w = self.factor(f"{name}: weight", weight, x)
        self.p = self.factor(f"{name}: pos_weight", pos_weight, x)
        self.e = xp.exp(-xp.abs(x))
        rest, zero = xp.log1p(self.e), xp.zeros_like(x)
        self.above = xp.maximum(x, zero) + rest  # softplus(x)
        self.below = xp.maximum(-x, zero) + rest  # softplus(-x)
        return self.reduce(self.w * (self.p * t * self.below + (1 - t) * self.above), reduction)

    def backward(self, dy: Any) -> Any:
        where, e = array_module(dy).where, self.e
        scale = self.w * self.each(dy)
        sigmoid = where(self.x >= 0, 1 / (1 + e), e / (1 + e))
        counter = where(self.x >= 0, e / (1 + e), 1 / (1 + e))  # sigmoid(-x)
        gradients = self.operand_grad(
            lambda: ((1 - self.t) * sigmoid - self.p * self.t * counter) * scale,
            lambda: (self.p * self.below - self.above) * scale,
        )
        return (*gradients, None, None)


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Tensor:
    """Return -(t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))), without overflow.

    `pos_weight` scales the first term, `weight` the whole.
    """
    x = as_tensor(input)
    return BCEWithLogits.apply(
        x,
        as_tensor(target, x.device),
        optional(weight, x),
        optional(pos_weight, x),
        reduction=reduction,
    )
