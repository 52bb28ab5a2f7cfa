"""The negative log-likelihood: cross entropy of log-probabilities."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.arguments import as_floating, optional, widened
from tinybert.ops.cross_entropy import (
    class_numbers,
    class_rows,
    class_weight,
    from_class_rows,
    unless,
    without_classes,
)
from tinybert.ops.loss import Loss


class NLLLoss(Loss, Function):
    """loss = -weight_y x_y for log-probabilities x and class number y.

    Shapes   x (N, C), (N, C, d1, ...) or (C,)   target without the axis of C   weight (C,) or None
    Oracle   torch.nn.functional.nll_loss: "mean" divides by the sum of weight_y over targets other
             than ignore_index

    dx_c = -weight_y * dy at c = y, 0 elsewhere. Each row has one target, so assigning is enough.
    """

    def forward(
        self, x: Any, target: Any, weight: Any = None, *, ignore_index: int, reduction: str
    ) -> Any:
        x = as_floating(x)
        xp = array_module(x)
        self.dtype, self.shape = x.dtype, x.shape
        rows = widened(class_rows("nll_loss: input", x))  # (M, C)
        self.row_shape, self.wide = rows.shape, rows.dtype
        ids, valid = class_numbers(target, x.shape, ignore_index)
        self.factor = class_weight(weight, rows)[ids] * valid  # (M,)
        self.positions = xp.arange(len(rows)), ids
        losses = unless(self.factor == 0, -rows[self.positions]) * self.factor
        losses = losses.reshape(without_classes(self.shape))
        return self.reduce(losses, reduction, self.factor.sum())

    def backward(self, dy: Any) -> Any:
        xp = array_module(dy)
        each = xp.broadcast_to(self.each(dy).reshape(-1), self.factor.shape)
        dx = xp.zeros(self.row_shape, self.wide)
        dx[self.positions] = unless(self.factor == 0, -each) * self.factor
        return from_class_rows(dx, self.shape, self.dtype), None, None


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Return -input[target], for log-probabilities (N, C) or (N, C, d1, ...)."""
    x = as_tensor(input)
    return NLLLoss.apply(
        x,
        as_tensor(target, x.device),
        optional(weight, x),
        ignore_index=ignore_index,
        reduction=reduction,
    )
