"""Normalisation: of the features of a token (layer, RMS and scale norm), and of a batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.trace.arithmetic.products import product
from tinybert.trace.arithmetic.terms import Term, number, sqrt, total
from tinybert.trace.arithmetic.work import Index, Unknown, Work, backward, forward


def row(work: Work, array: Any, axes: int) -> Any:
    """Return the features that are normalised together with the element."""
    return array[work.index[: len(work.index) - axes]].reshape(-1)


def mean(form: Any, *columns: Any) -> Term:
    """Return the mean of form(a, b, ...)."""
    return total(form, *columns) / max(np.size(columns[0]), 1)


# --- layer norm -----------------------------------------------------------------------------------


def factors(work: Work) -> Any:
    """Return the factors of a layer norm; on a GPU LayerNorm1P adds its 1 inside the kernel."""
    if work.options.get("plus"):
        raise Unknown("the factor is weight + 1, which only the kernel of a GPU has seen")
    return work.x("weight")


@forward("LayerNorm")
def layer_norm(work: Work) -> Term:
    """y = (x - mean) * rstd * weight + bias."""
    weight = factors(work)
    own = work.index[len(work.index) - weight.ndim :]
    x = row(work, work.x(), weight.ndim)
    centre = work.let("mean", mean(lambda x: x, x))
    variance = work.let("var", mean(lambda x, m: (x - m) ** 2, x, centre))
    rstd = work.let("rstd", 1 / sqrt(variance + work.option("eps")))
    x_hat = work.let("x_hat", (number(work.x()[work.index]) - centre) * rstd)
    y = x_hat * weight[own]
    return y + work.x("bias")[own] if work.has("bias") else y


@backward("LayerNorm", "dx")
def layer_norm_dx(work: Work) -> Term:
    """Return dx = rstd * (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat))."""
    weight = factors(work)
    lead = work.index[: len(work.index) - weight.ndim]
    own = work.index[len(lead) :]
    number_of = int(np.ravel_multi_index(lead, work.x().shape[: len(lead)])) if lead else 0
    x_hats, weights = work.saved("x_hat")[number_of], weight[...].reshape(-1)
    column = int(np.ravel_multi_index(own, weight.shape))
    rstd = work.let("rstd", number(work.saved("rstd")[number_of, 0]))
    x_hat = work.let("x_hat", number(x_hats[column]))
    dy = row(work, work.dy(), weight.ndim)
    dx_hat = work.let("dx_hat", number(dy[column]) * weights[column])
    centre = work.let("mean(dx_hat)", mean(product, dy, weights))
    slope = work.let("mean(dx_hat * x_hat)", mean(lambda dy, w, h: dy * w * h, dy, weights, x_hats))
    return rstd * (dx_hat - centre - x_hat * slope)


@backward("LayerNorm", "dweight")
def layer_norm_dweight(work: Work) -> Term:
    """Return dweight = the sum of dy * x_hat over all rows."""
    shape = work.x("weight").shape
    column = int(np.ravel_multi_index(work.index, shape))
    return total(product, work.dy()[(..., *work.index)], work.saved("x_hat")[:, column])


@backward("LayerNorm", "dbias")
def layer_norm_dbias(work: Work) -> Term:
    """Return dbias = the sum of dy over all rows."""
    return total(lambda dy: dy, work.dy()[(..., *work.index)])


# --- root mean square -----------------------------------------------------------------------------


@forward("RMSNorm")
def rms_norm(work: Work) -> Term:
    """y = x * r * weight."""
    r = _root(work, row(work, work.x(), _axes(work)))
    y = number(work.x()[work.index]) * r
    return y * work.x("weight")[_own(work)] if work.has("weight") else y


@backward("RMSNorm", "dx")
def rms_norm_dx(work: Work) -> Term:
    """Return dx = r * (g - x * r^2 * mean(g * x)) with g = dy * weight."""
    x, dy = (row(work, array, _axes(work)) for array in (work.x(), work.dy()))
    r = _root(work, x)
    at, own = number(work.x()[work.index]), number(work.dy()[work.index])
    if work.has("weight"):
        weights = work.x("weight")
        g = work.let("g", own * weights[_own(work)])
        form, factors = lambda dy, w, x: dy * w * x, (dy, weights[...].reshape(-1), x)
        slope = work.let("mean(g * x)", mean(form, *factors))
        return r * (g - at * r**2 * slope)
    slope = work.let("mean(dy * x)", mean(product, dy, x))
    return r * (own - at * r**2 * slope)


@backward("RMSNorm", "dweight")
def rms_norm_dweight(work: Work) -> Term:
    """Return dweight = the sum of dy * x * r over all rows."""
    where = (..., *work.index)
    return total(
        lambda dy, x, r: dy * x * r,
        work.dy()[where], work.x()[where], work.saved("r")[...],
    )  # fmt: skip


@forward("ScaleNorm")
def scale_norm(work: Work) -> Term:
    """y = scale * x * r."""
    r = _root(work, row(work, work.x(), 1))
    return number(work.x("scale")[...].item()) * work.x()[work.index] * r


@backward("ScaleNorm", "dx")
def scale_norm_dx(work: Work) -> Term:
    """Return dx = scale * r * (dy - x * r^2 * mean(dy * x))."""
    x, dy = row(work, work.x(), 1), row(work, work.dy(), 1)
    r = _root(work, x)
    slope = work.let("mean(dy * x)", mean(product, dy, x))
    scale, at = number(work.x("scale")[...].item()), number(work.x()[work.index])
    return scale * r * (number(work.dy()[work.index]) - at * r**2 * slope)


@backward("ScaleNorm", "dscale")
def scale_norm_dscale(work: Work) -> Term:
    """Return dscale = the sum of dy * x * r."""
    dy, x, r = work.dy()[...], work.x()[...], work.saved("r")[...]
    return total(lambda dy, x, r: dy * x * r, dy, x, np.broadcast_to(r, x.shape))


def _root(work: Work, x: Any) -> Term:
    square = work.let("mean(x^2)", mean(lambda x: x**2, x))
    return work.let("r", 1 / sqrt(square + work.option("eps")))


def _axes(work: Work) -> int:
    """Return how many of the last axes are normalised together."""
    if work.has("weight"):
        return work.x("weight").ndim
    sizes, width, axes = work.x().shape, 1, 0
    while width < work.option("width"):
        axes += 1
        width = math.prod(sizes[len(sizes) - axes :])
    return axes


def _own(work: Work) -> Index:
    return work.index[len(work.index) - _axes(work) :]


# --- batch norm -----------------------------------------------------------------------------------


@forward("BatchNorm")
def batch_norm(work: Work) -> Term:
    """y = (x - mean) * rstd * weight + bias."""
    channel = work.index[1]
    if _is_constant(work):
        centre, variance = (number(work.option(name)[channel]) for name in ("mean", "var"))
    else:
        x = work.x()[:, channel].reshape(-1)
        centre = work.let("mean", mean(lambda x: x, x))
        variance = work.let("var", mean(lambda x, m: (x - m) ** 2, x, centre))
    rstd = work.let("rstd", 1 / sqrt(variance + work.option("eps")))
    y = (number(work.x()[work.index]) - centre) * rstd
    y = y * work.x("weight")[channel] if work.has("weight") else y
    return y + work.x("bias")[channel] if work.has("bias") else y


@backward("BatchNorm", "dx")
def batch_norm_dx(work: Work) -> Term:
    """Return dx = rstd * weight * (dy - mean(dy) - x_hat * mean(dy * x_hat)); without the means if
    mean and var were given.
    """
    channel = work.index[1]
    rstd = work.let("rstd", work.saved("rstd")[...].reshape(-1)[channel])
    factor = rstd * work.x("weight")[channel] if work.has("weight") else rstd
    dy = number(work.dy()[work.index])
    if _is_constant(work):
        return factor * dy
    x_hats, dys = (array[:, channel].reshape(-1) for array in (work.saved("x_hat"), work.dy()))
    centre = work.let("mean(dy)", mean(lambda dy: dy, dys))
    slope = work.let("mean(dy * x_hat)", mean(product, dys, x_hats))
    return factor * (dy - centre - number(work.saved("x_hat")[work.index]) * slope)


@backward("BatchNorm", "dweight")
def batch_norm_dweight(work: Work) -> Term:
    """Return dweight = the sum of dy * x_hat over batch and positions."""
    channel = work.index[0]
    return total(product, work.dy()[:, channel], work.saved("x_hat")[:, channel])


@backward("BatchNorm", "dbias")
def batch_norm_dbias(work: Work) -> Term:
    """Return dbias = the sum of dy over batch and positions."""
    return total(lambda dy: dy, work.dy()[:, work.index[0]])


def _is_constant(work: Work) -> bool:
    """Return whether mean and variance were given, as in evaluation."""
    return "mean" in work.forward.options
