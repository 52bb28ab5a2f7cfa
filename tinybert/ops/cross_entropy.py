"""Cross entropy: the loss of a classifier."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, array_module, cpu, kernel
from tinybert.ops.arguments import as_floating, converted, optional, widened
from tinybert.ops.loss import Loss


class CrossEntropy(Loss, Function):
    """loss = -sum_c a_c log p_c with p = softmax(logits) over the classes and a_c = weight_c t_c.

    For class numbers t is 1 at the target y and 0 elsewhere: loss = -weight_y log p_y. Smoothing by
    s replaces t by (1 - s) t + s / C.

    Shapes   logits (N, C), (N, C, d1, ...) or (C,)   target without the axis of C: class numbers;
             of the shape of logits: probabilities   weight (C,) or None
    Oracle   torch.nn.functional.cross_entropy: "mean" divides by the sum of weight_y over targets
             other than ignore_index; for probabilities by the number of rows. A class with a_c = 0
             adds nothing, even where log p_c is -inf (torch: nan).

    Backward. log p_c = x_c - log sum_j exp x_j has the derivative delta_cj - p_j by x_j, so

        dlogits_j = (p_j sum_c a_c - a_j) * dy      dtarget_c = -(1 - s) weight_c log p_c * dy

    Saved: logits and logsumexp, not p. Without smoothing class numbers never become a matrix a: the
    kernel subtracts 1 at the target. Ignored targets have gradient 0.
    """

    def forward(
        self, logits: Any, target: Any, weight: Any = None, *,
        ignore_index: int, reduction: str, label_smoothing: float, is_checked: bool = False,
    ) -> Any:  # fmt: skip
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing must be from 0 to 1, got {label_smoothing}")
        logits = as_floating(logits)
        xp = array_module(logits)
        self.dtype, self.shape, self.smoothing = logits.dtype, logits.shape, label_smoothing
        self.rows = widened(class_rows("cross_entropy: input", logits))  # (M, C)
        self.weight = class_weight(weight, self.rows)
        self.a: Any = None  # (M, C), unless target is class numbers and nothing is smoothed
        if target.dtype.kind == "f" and target.shape == logits.shape:
            self.ids, count = xp.zeros(len(self.rows), "int64"), len(self.rows)
            self.a = self._smoothed(class_rows("cross_entropy: target", target))
        else:
            self.ids, valid = class_numbers(target, logits.shape, ignore_index, is_checked)
            self.factor = self.weight[self.ids] * valid  # (M,)
            count = self.factor.sum()
            if label_smoothing:
                hit = xp.arange(self.rows.shape[1])[None, :] == self.ids[:, None]
                self.a = self._smoothed(hit) * valid[:, None]
        losses, self.log_total = cross_entropy_forward(self.rows, self.ids)
        if self.a is None:
            losses = unless(self.factor == 0, losses) * self.factor
        else:
            losses = (unless(self.a == 0, self.log_total - self.rows) * self.a).sum(axis=-1)
        return self.reduce(losses.reshape(without_classes(self.shape)), reduction, count)

    def backward(self, dy: Any) -> Any:
        xp = array_module(dy)
        rows, a = self.rows, self.a
        each = xp.broadcast_to(self.each(dy).reshape(-1), (len(rows),))[:, None]
        if a is None:
            factor = self.factor[:, None]
            scale = unless(factor == 0, each) * factor
            dlogits = cross_entropy_backward(rows, self.ids, self.log_total, scale)
            return from_class_rows(dlogits, self.shape, self.dtype), None, None
        log_p = rows - self.log_total
        dlogits = dtarget = None
        if self.needs_input_grad[0]:
            total = a.sum(axis=-1, keepdims=True)
            dlogits = (xp.exp(log_p) * total - a) * unless(total == 0, each)
            dlogits = from_class_rows(dlogits, self.shape, self.dtype)
        if self.needs_input_grad[1]:
            dtarget = log_p * self.weight * each * (self.smoothing - 1)
            dtarget = from_class_rows(dtarget, self.shape, self.dtype)
        return dlogits, dtarget, None

    def _smoothed(self, target: Array) -> Array:
        """Return a (M, C) = weight * ((1 - s) target + s / C)."""
        target = target.astype(self.rows.dtype)
        if self.smoothing:
            target = target * (1 - self.smoothing) + self.smoothing / target.shape[1]
        return target * self.weight


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    is_checked: bool = False,
) -> Tensor:
    """Return -log softmax(input)[target].

    Args:
        input: logits (N, C), (C,), or (N, C, d1, ...).
        target: class numbers (N,), (), or (N, d1, ...); or probabilities of the shape of input.
        weight: (C,) a factor for each class.
        ignore_index: targets with this number do not count.
        reduction: "mean" (over the targets that count), "sum" or "none".
        label_smoothing: this share of the target is spread over all classes.
        is_checked: the targets are known to be in range; a GPU need not be waited for.
    """
    x = as_tensor(input)
    return CrossEntropy.apply(
        x,
        as_tensor(target, x.device),
        optional(weight, x),
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        is_checked=is_checked,
    )


def unless(out: Array, x: Array) -> Array:
    """Return x with 0 where `out`; multiplying by 0 would turn an infinite x into nan."""
    xp = array_module(x)
    return xp.where(out, xp.zeros_like(x), x)


def class_rows(name: str, x: Array) -> Array:
    """Return x (N, C, ...) or (C,) as rows (M, C)."""
    if x.ndim == 0 or x.shape[min(1, x.ndim - 1)] == 0:
        raise ValueError(f"{name} must be (N, C), (N, C, ...) or (C,) with C > 0, got {x.shape}")
    if x.ndim == 1:
        return x[None, :]
    moved = array_module(x).moveaxis(x, 1, -1)
    return moved.reshape(math.prod(moved.shape[:-1]), x.shape[1])


def from_class_rows(rows: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return rows (M, C) in `shape`."""
    rows = converted(rows, dtype)
    if len(shape) == 1:
        return rows.reshape(shape)
    moved = rows.reshape(shape[0], *shape[2:], shape[1])
    return array_module(rows).moveaxis(moved, -1, 1)


def without_classes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return `shape` without the axis of classes."""
    return (*shape[:1], *shape[2:]) if len(shape) > 1 else ()


def class_weight(weight: Array | None, rows: Array) -> Array:
    """Return the factor (C,) of every class, in the dtype of the rows; ones if there is none."""
    if weight is None:
        return array_module(rows).ones(rows.shape[1], rows.dtype)
    if weight.shape != rows.shape[1:]:
        raise ValueError(
            f"weight must have one number for each of the {rows.shape[1]} classes, got shape "
            f"{weight.shape}"
        )
    return weight.astype(rows.dtype, copy=False)


def class_numbers(
    target: Array, shape: tuple[int, ...], ignore_index: int, is_checked: bool = False
) -> tuple[Array, Array]:
    """Return the targets (M,), 0 for those to be ignored, and whether each counts (M,)."""
    if target.shape != without_classes(shape) or target.dtype.kind not in "iu":
        raise ValueError(
            f"target must be integers of shape {without_classes(shape)} for an input of shape "
            f"{shape}, got {target.dtype} of shape {target.shape}"
        )
    xp, classes = array_module(target), shape[min(1, len(shape) - 1)]
    ids = target.astype("int64").reshape(-1)
    valid = ids != ignore_index
    ids = xp.where(valid, ids, xp.zeros_like(ids))
    # Read without its sign, a negative number is large.
    if not is_checked and ids.size and int(ids.view("uint64").max()) >= classes:
        worst = int(ids.max()) if int(ids.max()) >= classes else int(ids.min())
        raise ValueError(
            f"target must be from 0 to {classes - 1}, or ignore_index = {ignore_index}, got {worst}"
        )
    return ids, valid


# --- kernels --------------------------------------------------------------------------------------


@kernel
def cross_entropy_forward(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Return, for logits (N, V), logsumexp(logits) - logits[target] (N,) and logsumexp (N, 1)."""
    xp = array_module(logits)
    top = logits.max(axis=-1, keepdims=True)
    log_sum = xp.log(xp.exp(logits - top).sum(axis=-1, keepdims=True))
    picked = xp.take_along_axis(logits - top, targets[:, None], axis=-1)
    return (log_sum - picked)[:, 0], log_sum + top


@kernel
def cross_entropy_backward(logits: Array, targets: Array, log_total: Array, scale: Array) -> Array:
    """Return dlogits = (softmax(logits) - one_hot(target)) * scale, for scale (N, 1)."""
    xp = array_module(logits)
    hit = xp.arange(logits.shape[-1])[None, :] == targets[:, None]
    return (xp.exp(logits - log_total) - hit.astype(logits.dtype)) * scale


@cross_entropy_forward.on("cpu")
def cross_entropy_on_cpu(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Do every step on a block of rows while it is in the cache."""
    loss, log_total = (np.empty((logits.shape[0], 1), logits.dtype) for _ in range(2))

    def work(block: slice) -> None:
        part = logits[block]
        top = part.max(axis=-1, keepdims=True)
        shifted = part - top
        picked = np.take_along_axis(shifted, targets[block, None], axis=-1)
        np.exp(shifted, out=shifted)
        log_sum = np.log(shifted.sum(axis=-1, keepdims=True))
        np.add(log_sum, top, out=log_total[block])
        np.subtract(log_sum, picked, out=loss[block])  # both small: a loss near 0 keeps its digits

    cpu.in_blocks(work, *logits.shape)
    return loss[:, 0], log_total


@cross_entropy_backward.on("cpu")
def cross_entropy_backward_on_cpu(
    logits: Array, targets: Array, log_total: Array, scale: Array
) -> Array:
    """Do every step on a block of rows while it is in the cache."""
    dlogits = np.empty_like(logits, order="C")

    def work(block: slice) -> None:
        out = dlogits[block]
        np.subtract(logits[block], log_total[block], out=out)
        np.exp(out, out=out)
        out[np.arange(out.shape[0]), targets[block]] -= 1
        out *= scale[block]

    cpu.in_blocks(work, *logits.shape)
    return dlogits
