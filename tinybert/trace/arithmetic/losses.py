"""Losses of pairs of numbers, and the negative log-likelihood; cross entropy is in `softmax.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinybert.ops.cross_entropy import class_rows
from tinybert.trace.arithmetic.softmax import row_and_class, times_dy
from tinybert.trace.arithmetic.terms import (
    Term,
    absolute,
    exp,
    log,
    number,
    positive,
    total,
)  # fmt: skip
from tinybert.trace.arithmetic.work import Work, backward, forward


def reduced(work: Work, form: Callable[..., Any], *columns: Any, count: int | None = None) -> Term:
    """Return form(a, b, ...) of one element, its sum over all, or the sum / count."""
    reduction = work.option("reduction")
    if reduction == "none":
        return number(form(*(number(column[work.index]) for column in columns)))
    losses = total(form, *columns)
    return losses if reduction == "sum" else losses / (columns[0].size if count is None else count)


def _with_dy(work: Work, slope: Term) -> Term:
    """Return the slope of the loss of the chosen pair times its share of dy."""
    shape = work.result.shape
    n = int(np.ravel_multi_index(work.index, shape)) if shape else 0
    return times_dy(work, slope, n, _count(work))


def _count(work: Work) -> int:
    """Return what the sum of the losses of pairs is divided by."""
    shape = work.x().shape
    is_batch = work.option("reduction") == "batchmean"
    return int(np.prod(shape[:1] if is_batch else shape))


def _pair(work: Work) -> tuple[Term, Term]:
    return number(work.x()[work.index]), number(work.x("target")[work.index])


# --- distances ------------------------------------------------------------------------------------


@forward("MSE")
def mse(work: Work) -> Term:
    """Return loss = (x - t)^2."""
    return reduced(work, lambda x, t: (x - t) ** 2, work.x()[...], work.x("target")[...])


@forward("L1")
def l1(work: Work) -> Term:
    """Return loss = |x - t|."""
    return reduced(work, lambda x, t: absolute(x - t), work.x()[...], work.x("target")[...])


@backward("MSE", "dx")
def mse_dx(work: Work) -> Term:
    """Return dx = 2 * (x - t) * dy."""
    x, t = _pair(work)
    return _with_dy(work, 2 * (x - t))


@backward("MSE", "dtarget")
def mse_dtarget(work: Work) -> Term:
    """Return dt = -2 * (x - t) * dy."""
    x, t = _pair(work)
    return _with_dy(work, -2 * (x - t))


@backward("L1", "dx")
def l1_dx(work: Work) -> Term:
    """Return dx = sign(x - t) * dy."""
    return _with_dy(work, _sign(work))


@backward("L1", "dtarget")
def l1_dtarget(work: Work) -> Term:
    """Return dt = -sign(x - t) * dy."""
    return _with_dy(work, -_sign(work))


def _sign(work: Work) -> Term:
    x, t = _pair(work)
    return work.let("sign(x - t)", int(np.sign(work.let("x - t", x - t).value)))


# --- divergence of distributions ------------------------------------------------------------------


@forward("KLDiv")
def kl_div(work: Work) -> Term:
    """Return loss = t * (log(t) - x); with log_target exp(u) * (u - x). 0 where t is 0."""

    def form(x: Any, t: Any) -> Any:
        return exp(t) * (t - x) if work.option("log_target") else t * (log(t) - x)

    x, t = work.x()[...], work.x("target")[...]
    counts = (np.exp(t) if work.option("log_target") else t) != 0
    if work.option("reduction") != "none":
        return reduced(work, form, x[counts], t[counts], count=_count(work))
    return reduced(work, form, x, t) if counts[work.index] else number(0)


@backward("KLDiv", "dx")
def kl_div_dx(work: Work) -> Term:
    """Return dx = -t * dy."""
    _, t = _pair(work)
    return _with_dy(work, -(exp(t) if work.option("log_target") else t))


@backward("KLDiv", "dtarget")
def kl_div_dtarget(work: Work) -> Term:
    """Return dt = (log(t) + 1 - x) * dy; with log_target exp(u) * (u + 1 - x) * dy."""
    x, t = _pair(work)
    if work.option("log_target"):
        return _with_dy(work, exp(t) * (t + 1 - x))
    return _with_dy(work, log(t) + 1 - x)


@forward("BCEWithLogits")
def bce(work: Work) -> Term:
    """Return loss = w * (p * t * softplus(-x) + (1 - t) * softplus(x))."""

    def form(x: Any, t: Any, w: Any, p: Any) -> Any:
        first = p * t * softplus(-x) if work.has("pos_weight") else t * softplus(-x)
        loss = first + (1 - t) * softplus(x)
        return w * loss if work.has("weight") else loss

    x, t = work.x()[...], work.x("target")[...]
    factors = (
        work.x(name).spread(x.shape)[...] if work.has(name) else np.ones_like(x)
        for name in ("weight", "pos_weight")
    )  # fmt: skip
    return reduced(work, form, x, t, *factors)


@backward("BCEWithLogits", "dx")
def bce_dx(work: Work) -> Term:
    """Return dx = w * ((1 - t) * s - p * t * (1 - s)) * dy with s = sigmoid(x)."""
    x, t = _pair(work)
    s = work.let("s", 1 / (1 + exp(-x)))
    below = t * (1 - s)
    if work.has("pos_weight"):
        below = work.x("pos_weight").at(work.index) * below
    return _with_dy(work, _weighted(work, (1 - t) * s - below))


@backward("BCEWithLogits", "dtarget")
def bce_dtarget(work: Work) -> Term:
    """Return dt = w * (p * softplus(-x) - softplus(x)) * dy."""
    x, _ = _pair(work)
    below = softplus(-x)
    if work.has("pos_weight"):
        below = work.x("pos_weight").at(work.index) * below
    return _with_dy(work, _weighted(work, below - softplus(x)))


def softplus(x: Any) -> Any:
    """Return log(1 + exp(x)), of a term or of an array, without overflow."""
    return positive(x) + log(1 + exp(-absolute(x)))


def _weighted(work: Work, term: Term) -> Term:
    return work.x("weight").at(work.index) * term if work.has("weight") else term


# --- negative log-likelihood ----------------------------------------------------------------------


@forward("NLLLoss")
def nll(work: Work) -> Term:
    """Return loss = -weight_y * x_y for the class number y of each row, then the mean."""
    weights, chosen = _rows(work)
    used = weights != 0
    if work.option("reduction") == "none":
        n = int(np.ravel_multi_index(work.index, work.y().shape)) if work.index else 0
        return _minus(work, number(weights[n]), number(chosen[n])) if used[n] else number(0)
    losses = total(lambda w, x: _minus(work, w, x), weights[used], chosen[used])
    return losses if work.option("reduction") == "sum" else losses / float(weights.sum())


@backward("NLLLoss", "dx")
def nll_dx(work: Work) -> Term:
    """Return dx = -weight_y * dy at the class number y of the row, 0 elsewhere."""
    weights, _ = _rows(work)
    n, c = row_and_class(work)
    if c != work.x("target")[...].reshape(-1)[n] or not weights[n]:
        return number(0)
    return times_dy(work, -number(weights[n]), n, float(weights.sum()))


def _rows(work: Work) -> tuple[Any, Any]:
    """Return for each row weight_y, 0 if it does not count, and x_y."""
    rows = class_rows("input", work.x()[...])
    ids = work.x("target")[...].reshape(-1).astype(int)
    valid = ids != work.option("ignore_index")
    ids = np.where(valid, ids, 0)
    weights = work.x("weight")[ids] if work.has("weight") else np.ones(len(ids))
    return weights * valid, rows[np.arange(len(ids)), ids]


def _minus(work: Work, weight: Any, x: Any) -> Any:
    return -(weight * x) if work.has("weight") else -x
