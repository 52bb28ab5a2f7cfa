"""Softmax, its logarithm, and cross entropy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinybert.ops.arguments import normal_axis
from tinybert.ops.cross_entropy import class_rows
from tinybert.trace.arithmetic.products import product
from tinybert.trace.arithmetic.terms import Term, exp, log, number, total
from tinybert.trace.arithmetic.work import Index, Numbers, Work, backward, forward


def row(work: Work, array: Numbers) -> Any:
    """Return the elements over which the softmax of the chosen one goes."""
    axis = normal_axis(work.option("axis"), array.ndim)
    return array[(*work.index[:axis], slice(None), *work.index[axis + 1 :])]


def sum_of_exponentials(work: Work, x: Any) -> tuple[Term, Term]:
    """Return max x, and the sum of exp(x - max x)."""
    top = work.let("max", number(np.max(x)))
    return top, work.let("sum", total(lambda x, top: exp(x - top), x, top))


@forward("Softmax")
def softmax(work: Work) -> Term:
    """y = exp(x - max) / sum."""
    top, exponentials = sum_of_exponentials(work, row(work, work.x()))
    return exp(number(work.x()[work.index]) - top) / exponentials


@backward("Softmax", "dx")
def softmax_dx(work: Work) -> Term:
    """Return dx = y * (dy - sum of dy * y)."""
    y, dy = work.y(), work.dy()
    shared = work.let("sum", total(product, row(work, dy), row(work, y)))
    return number(y[work.index]) * (number(dy[work.index]) - shared)


@forward("LogSoftmax")
def log_softmax(work: Work) -> Term:
    """y = x - max - log(sum)."""
    top, exponentials = sum_of_exponentials(work, row(work, work.x()))
    return number(work.x()[work.index]) - top - log(exponentials)


@backward("LogSoftmax", "dx")
def log_softmax_dx(work: Work) -> Term:
    """Return dx = dy - exp(y) * sum of dy."""
    y, dy = work.y(), work.dy()
    shared = work.let("sum", total(lambda dy: dy, row(work, dy)))
    return number(dy[work.index]) - exp(number(y[work.index])) * shared


# --- cross entropy --------------------------------------------------------------------------------


class Rows(NamedTuple):
    """The rows of a cross entropy: logits and factors a (M, C), and the divisor of the sum.

    a is weight * target; `targets` are the class numbers, where they are given, else None.
    """

    logits: Any
    a: Any
    weight: Any
    targets: Any
    divisor: float


def rows_of(work: Work) -> Rows:
    """Return the rows of a cross entropy, in float64."""
    logits = class_rows("input", work.x("logits")[...])
    classes = logits.shape[1]
    weight = work.x("weight")[...] if work.has("weight") else np.ones(classes)
    smoothing, target = float(work.option("label_smoothing")), work.x("target")
    targets = None
    if target.shape == work.x("logits").shape and target.array.dtype.kind == "f":
        share, count = class_rows("target", target[...]), float(len(logits))
    else:
        ids = target[...].reshape(-1).astype(int)
        valid = ids != work.option("ignore_index")
        share = (ids[:, None] == np.arange(classes)) * valid[:, None]
        targets, count = ids, float((weight[np.where(valid, ids, 0)] * valid).sum())
        if smoothing:
            share = share * (1 - smoothing) + smoothing / classes * valid[:, None]
            targets = None
    if target.array.dtype.kind == "f" and smoothing:
        share = share * (1 - smoothing) + smoothing / classes
    return Rows(logits, share * weight, weight, targets, count)


@forward("CrossEntropy")
def cross_entropy(work: Work) -> Term:
    """loss = the sum of a * (log_sum - x) over the classes, for each row; then the mean."""
    rows, reduction = rows_of(work), work.option("reduction")
    top = rows.logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(rows.logits - top).sum(axis=1, keepdims=True)) + top
    each = np.where(rows.a == 0, 0, rows.a * (log_sums - rows.logits)).sum(axis=1)
    if reduction == "none":
        return _loss(work, rows, int(np.ravel_multi_index(work.index, work.y().shape or (1,))))
    if not each.size:
        return number(0) / 0 if reduction == "mean" else number(0)
    largest = int(np.argmax(each))
    work.let(f"loss[{largest}]", _loss(work, rows, largest))
    losses = total(lambda x: x, each)
    return losses if reduction == "sum" else losses / _divisor(rows)


def _loss(work: Work, rows: Rows, n: int) -> Term:
    log_sum = _log_sum(work, rows, n)
    used = rows.a[n] != 0
    a, x = rows.a[n][used], rows.logits[n][used]
    if a.size == 1 and a[0] == 1:
        return log_sum - x[0]
    return total(lambda a, s, x: a * (s - x), a, log_sum, x)


def _log_sum(work: Work, rows: Rows, n: int) -> Term:
    top, exponentials = sum_of_exponentials(work, rows.logits[n])
    return work.let("log_sum", top + log(exponentials))


def _divisor(rows: Rows) -> Term:
    return number(int(rows.divisor) if rows.divisor.is_integer() else rows.divisor)


@backward("CrossEntropy", "dlogits")
def cross_entropy_dlogits(work: Work) -> Term:
    """Return dlogits = (p * sum of a - a) * dy / count."""
    rows, (n, c) = rows_of(work), row_and_class(work)
    a, share = rows.a[n, c], rows.a[n].sum()
    if not share:
        return number(0)
    log_sum = _log_sum(work, rows, n)
    p = work.let("p", exp(number(rows.logits[n, c]) - log_sum))
    is_plain = rows.targets is not None and share == 1
    return times_dy(work, p - int(a) if is_plain else p * share - a, n, _divisor(rows))


@backward("CrossEntropy", "dtarget")
def cross_entropy_dtarget(work: Work) -> Term:
    """Return dtarget = -(1 - s) * weight * log_p * dy / count."""
    rows, (n, c) = rows_of(work), row_and_class(work)
    log_p = work.let("log_p", number(rows.logits[n, c]) - _log_sum(work, rows, n))
    keep = 1 - number(float(work.option("label_smoothing")))
    return times_dy(work, -(keep * rows.weight[c] * log_p), n, _divisor(rows))


def times_dy(work: Work, slope: Term, n: int, count: Any) -> Term:
    """Return the slope of loss n times its share of dy: dy itself, or dy / count for a mean."""
    dy, reduction = work.dy()[...].reshape(-1), work.option("reduction")
    if reduction == "none":
        return slope * dy[n]
    return slope * dy[0] if reduction == "sum" else slope * dy[0] / count


def row_and_class(work: Work) -> tuple[int, int]:
    """Return the row and the class of an element of the logits: axis 1 is that of the classes."""
    index, shape = work.index, work.result.shape
    if len(shape) == 1:
        return 0, index[0]
    rest: Index = (index[0], *index[2:])
    n = np.ravel_multi_index(rest, (shape[0], *shape[2:]))
    return int(n), index[1]
