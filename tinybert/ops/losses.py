"""Losses: how far a prediction is from its target, as one number.

Each is a loss an element (or a row) and then a reduction: "none" keeps them all, "sum" adds them
up, "mean" divides by how many count. `_Loss` does the reduction, so that the classes hold only the
formula of one element and its derivative. float16 is computed in float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.autograd import Function
from tinybert.backend import Array, array_module, kernels_of
from tinybert.ops.arguments import as_floating
from tinybert.ops.reductions import widened


class _Loss:
    """Mixin: the reduction of losses, and its backward."""

    dtype: Any  # of the prediction; the loss has the same
    count: Any  # what the sum was divided by, or None

    def reduce(self, losses: Array, reduction: str, count: Any = None) -> Array:
        """`losses` as they are, their sum, or their sum / count (how many there are, by default).

        The mean of nothing is nan, without a warning, as in torch.
        """
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
        self.count = None
        if reduction == "none":
            return losses.astype(self.dtype, copy=False)
        total = losses.sum()
        if reduction == "mean":
            self.count = losses.size if count is None else count
            with np.errstate(divide="ignore", invalid="ignore"):
                total = total / self.count
        return total.astype(self.dtype, copy=False)

    def each(self, dy: Array) -> Array:
        """dL by each single loss: dy, or dy / count; it broadcasts to the losses."""
        if self.count is None:
            return widened(dy)
        with np.errstate(divide="ignore", invalid="ignore"):
            return widened(dy) / self.count


# --- over classes ---------------------------------------------------------------------------------


class CrossEntropy(_Loss, Function):
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
    kernel subtracts 1 at the target. What is ignored has gradient 0.
    """

    def forward(
        self, logits: Any, target: Any, weight: Any = None, *,
        ignore_index: int, reduction: str, label_smoothing: float,
    ) -> Any:  # fmt: skip
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing must be from 0 to 1, got {label_smoothing}")
        logits = as_floating(logits)
        xp = array_module(logits)
        self.dtype, self.shape, self.smoothing = logits.dtype, logits.shape, label_smoothing
        self.rows = widened(_class_rows("cross_entropy: input", logits))  # (M, C)
        self.weight = _class_weight(weight, self.rows)
        self.a: Any = None  # (M, C), unless target is class numbers and nothing is smoothed
        if target.dtype.kind == "f" and target.shape == logits.shape:
            self.ids, count = xp.zeros(len(self.rows), "int64"), len(self.rows)
            self.a = self._smoothed(_class_rows("cross_entropy: target", target))
        else:
            self.ids, valid = _class_numbers(target, logits.shape, ignore_index)
            self.factor = self.weight[self.ids] * valid  # (M,)
            count = self.factor.sum()
            if label_smoothing:
                hit = xp.arange(self.rows.shape[1])[None, :] == self.ids[:, None]
                self.a = self._smoothed(hit) * valid[:, None]
        losses, self.log_total = kernels_of(logits).cross_entropy(self.rows, self.ids)
        if self.a is None:
            losses = _unless(self.factor == 0, losses) * self.factor
        else:
            losses = (_unless(self.a == 0, self.log_total - self.rows) * self.a).sum(axis=-1)
        return self.reduce(losses.reshape(_without_classes(self.shape)), reduction, count)

    def backward(self, dy: Any) -> Any:
        xp = array_module(dy)
        rows, a = self.rows, self.a
        each = xp.broadcast_to(self.each(dy).reshape(-1), (len(rows),))[:, None]
        if a is None:
            factor = self.factor[:, None]
            scale = _unless(factor == 0, each) * factor
            kernel = kernels_of(dy).cross_entropy_backward
            dlogits = kernel(rows, self.ids, self.log_total, scale)
            return _from_class_rows(dlogits, self.shape, self.dtype), None, None
        log_p = rows - self.log_total
        dlogits = dtarget = None
        if self.needs_input_grad[0]:
            total = a.sum(axis=-1, keepdims=True)
            dlogits = (xp.exp(log_p) * total - a) * _unless(total == 0, each)
            dlogits = _from_class_rows(dlogits, self.shape, self.dtype)
        if self.needs_input_grad[1]:
            dtarget = log_p * self.weight * each * (self.smoothing - 1)
            dtarget = _from_class_rows(dtarget, self.shape, self.dtype)
        return dlogits, dtarget, None

    def _smoothed(self, target: Array) -> Array:
        """a (M, C) = weight * ((1 - s) target + s / C)."""
        target = target.astype(self.rows.dtype)
        if self.smoothing:
            target = target * (1 - self.smoothing) + self.smoothing / target.shape[1]
        return target * self.weight


class NLLLoss(_Loss, Function):
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
        rows = widened(_class_rows("nll_loss: input", x))  # (M, C)
        self.row_shape, self.wide = rows.shape, rows.dtype
        ids, valid = _class_numbers(target, x.shape, ignore_index)
        self.factor = _class_weight(weight, rows)[ids] * valid  # (M,)
        self.places = xp.arange(len(rows)), ids
        losses = _unless(self.factor == 0, -rows[self.places]) * self.factor
        losses = losses.reshape(_without_classes(self.shape))
        return self.reduce(losses, reduction, self.factor.sum())

    def backward(self, dy: Any) -> Any:
        xp = array_module(dy)
        each = xp.broadcast_to(self.each(dy).reshape(-1), self.factor.shape)
        dx = xp.zeros(self.row_shape, self.wide)
        dx[self.places] = _unless(self.factor == 0, -each) * self.factor
        return _from_class_rows(dx, self.shape, self.dtype), None, None


def _unless(out: Array, x: Array) -> Array:
    """x, but 0 where `out`: what does not count must not turn to nan as 0 * inf would."""
    xp = array_module(x)
    return xp.where(out, xp.zeros_like(x), x)


def _class_rows(name: str, x: Array) -> Array:
    """x (N, C, ...) or (C,) as rows (M, C)."""
    if x.ndim == 0 or x.shape[min(1, x.ndim - 1)] == 0:
        raise ValueError(f"{name} must be (N, C), (N, C, ...) or (C,) with C > 0, got {x.shape}")
    if x.ndim == 1:
        return x[None, :]
    moved = array_module(x).moveaxis(x, 1, -1)
    return moved.reshape(math.prod(moved.shape[:-1]), x.shape[1])


def _from_class_rows(rows: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Rows (M, C) back in `shape`."""
    rows = rows.astype(dtype, copy=False)
    if len(shape) == 1:
        return rows.reshape(shape)
    moved = rows.reshape(shape[0], *shape[2:], shape[1])
    return array_module(rows).moveaxis(moved, -1, 1)


def _without_classes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:1], *shape[2:]) if len(shape) > 1 else ()


def _class_weight(weight: Array | None, rows: Array) -> Array:
    """The factor (C,) of every class, in the dtype of the rows; ones if there is none."""
    if weight is None:
        return array_module(rows).ones(rows.shape[1], rows.dtype)
    if weight.shape != rows.shape[1:]:
        raise ValueError(
            f"weight must have one number for each of the {rows.shape[1]} classes, got shape "
            f"{weight.shape}"
        )
    return weight.astype(rows.dtype, copy=False)


def _class_numbers(target: Array, shape: tuple[int, ...], ignore_index: int) -> tuple[Array, Array]:
    """The targets (M,), with 0 for those to be ignored, and whether each counts (M,)."""
    if target.shape != _without_classes(shape) or target.dtype.kind not in "iu":
        raise ValueError(
            f"target must be integers of shape {_without_classes(shape)} for an input of shape "
            f"{shape}, got {target.dtype} of shape {target.shape}"
        )
    xp, classes = array_module(target), shape[min(1, len(shape) - 1)]
    ids = target.astype("int64").reshape(-1)
    valid = ids != ignore_index
    ids = xp.where(valid, ids, xp.zeros_like(ids))
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= classes):
        worst = int(ids.max()) if int(ids.max()) >= classes else int(ids.min())
        raise ValueError(
            f"target must be from 0 to {classes - 1}, or ignore_index = {ignore_index}, got {worst}"
        )
    return ids, valid


# --- element by element ---------------------------------------------------------------------------


class _Elementwise(_Loss):
    """Mixin: prediction and target of one shape; the target takes the dtype of the prediction."""

    def operands(self, name: str, x: Any, target: Any) -> tuple[Array, Array]:
        if x.shape != target.shape:
            raise ValueError(
                f"{name}: target must have the shape {x.shape} of input, got {target.shape}"
            )
        x = as_floating(x)
        self.dtype = x.dtype
        x = widened(x)
        return x, target.astype(x.dtype, copy=False)

    def factor(self, name: str, value: Any, x: Array) -> Any:
        """A constant factor that broadcasts to `x`, 1 if it is None."""
        if value is None:
            return 1
        if np.broadcast_shapes(value.shape, x.shape) != x.shape:
            raise ValueError(f"{name} of shape {value.shape} does not broadcast to {x.shape}")
        return value.astype(x.dtype, copy=False)

    def give_back(self, dx: Any, dtarget: Any) -> tuple[Any, Any]:
        """The two gradients in the dtype of the prediction."""
        need = self.needs_input_grad  # type: ignore[attr-defined]
        return (
            dx().astype(self.dtype, copy=False) if need[0] else None,
            dtarget().astype(self.dtype, copy=False) if need[1] else None,
        )


class MSE(_Elementwise, Function):
    """loss = (x - t)^2. dx = 2 (x - t) dy, dt = -dx.   Oracle   torch.nn.functional.mse_loss"""

    def forward(self, x: Any, target: Any, *, reduction: str) -> Any:
        x, target = self.operands("mse_loss", x, target)
        self.distance = x - target
        return self.reduce(self.distance * self.distance, reduction)

    def backward(self, dy: Any) -> Any:
        slope = 2 * self.distance * self.each(dy)
        return self.give_back(lambda: slope, lambda: -slope)


class L1(_Elementwise, Function):
    """loss = |x - t|. dx = sign(x - t) dy (0 where equal), dt = -dx.

    Oracle   torch.nn.functional.l1_loss
    """

    def forward(self, x: Any, target: Any, *, reduction: str) -> Any:
        x, target = self.operands("l1_loss", x, target)
        self.distance = x - target
        return self.reduce(array_module(x).abs(self.distance), reduction)

    def backward(self, dy: Any) -> Any:
        slope = array_module(dy).sign(self.distance) * self.each(dy)
        return self.give_back(lambda: slope, lambda: -slope)


class BCEWithLogits(_Elementwise, Function):
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
        gradients = self.give_back(
            lambda: ((1 - self.t) * sigmoid - self.p * self.t * counter) * scale,
            lambda: (self.p * self.below - self.above) * scale,
        )
        return (*gradients, None, None)


class KLDiv(_Elementwise, Function):
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
        return self.give_back(lambda: -self.t * each, lambda: factor * (self.log_ratio + 1) * each)
