"""The vocabulary-parallel cross entropy: the loss where the logits are.

    loss = log sum_v exp x_v - x_target

Each rank has the logits of its rows of the vocabulary. Three numbers a token are exchanged (the
largest logit, the sum of exponentials, the logit of the target), not V logits.

Backward. dlogits_v = (exp(x_v - log_total) - [v is the target]) dy needs no exchange.

Source   Shoeybi et al. 2019, arXiv:1909.08053, section 3: "we fuse the output of the parallel GEMM
         with the cross entropy loss which reduces the dimension to b x s"
Oracle   torch.nn.functional.cross_entropy of the logits of all ranks
Shapes   logits (N, V / p)   target (N,)
Bytes    forward: an allreduce of N numbers (the maximum) and one of 2 N. Backward: none.
"""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.arguments import converted, widened
from tinybert.ops.cross_entropy import class_numbers
from tinybert.ops.loss import Loss
from tinybert.parallel.communicator import Communicator
from tinybert.parallel.grid import span


class VocabularyParallelCrossEntropy(Loss, Function):
    """loss = log sum_v exp x_v - x_target, summed over the vocabulary of all ranks.

    dx_v = (exp(x_v - log_total) - [v is the target]) dy. Saved: x and log_total.
    """

    def forward(
        self, logits: Any, target: Any, *,
        group: Communicator, classes: int, ignore_index: int, reduction: str,
    ) -> Any:  # fmt: skip
        xp = array_module(logits)
        self.dtype, self.rows = logits.dtype, widened(logits)
        ids, self.valid = class_numbers(target, (len(logits), classes), ignore_index)
        own = span(classes, group.size, group.rank)
        if logits.shape[1] != own.stop - own.start:
            raise ValueError(
                f"rank {group.rank} has {logits.shape[1]} columns of logits, not "
                f"{own.stop - own.start} of {classes}"
            )
        self.here = (ids >= own.start) & (ids < own.stop)
        self.ids = xp.where(self.here, ids - own.start, 0)
        top = group.allreduce(self.rows.max(axis=-1), "max")[:, None]  # (N, 1)
        shifted = self.rows - top
        picked = xp.take_along_axis(shifted, self.ids[:, None], axis=-1)[:, 0] * self.here
        total, picked = group.allreduce(xp.stack([xp.exp(shifted).sum(axis=-1), picked]))
        self.log_total = xp.log(total)[:, None] + top
        losses = (xp.log(total) - picked) * self.valid
        return self.reduce(losses, reduction, self.valid.sum())

    def backward(self, dy: Any) -> Any:
        xp = array_module(dy)
        each = xp.broadcast_to(self.each(dy).reshape(-1), self.ids.shape) * self.valid
        dlogits = xp.exp(self.rows - self.log_total) * each[:, None]
        dlogits[xp.arange(len(self.ids)), self.ids] -= each * self.here
        return converted(dlogits, self.dtype), None


def cross_entropy(
    logits: Tensor,
    target: Any,
    group: Communicator,
    classes: int,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Return -log softmax(logits)[target], the same on all ranks.

    Args:
        logits: (..., V / p), this rank's columns of the logits of V = `classes` classes.
        target: (...) class numbers.
        ignore_index, reduction: as in `functional.cross_entropy`.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    ids = as_tensor(target, logits.device).reshape(-1)
    return VocabularyParallelCrossEntropy.apply(
        rows, ids, group=group, classes=classes, ignore_index=ignore_index, reduction=reduction
    )
