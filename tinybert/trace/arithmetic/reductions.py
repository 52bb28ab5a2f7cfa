"""Reductions: sums, means, variances, extremes, and sums of exponentials or of all before."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.ops.arguments import normal_axes, normal_axis
from tinybert.trace.arithmetic.terms import Term, exp, log, number, sqrt, total
from tinybert.trace.arithmetic.work import Index, Work, backward, copy, element, forward

# --- sums and means -------------------------------------------------------------------------------


@forward("Sum")
def sum_of(work: Work) -> Term:
    """y = the sum of x over some axes."""
    return total(lambda x: x, _terms(work))


@forward("Mean")
def mean(work: Work) -> Term:
    """y = the sum of x over some axes / count."""
    terms = _terms(work)
    return total(lambda x: x, terms) / int(terms.size)


@backward("Sum", "dx")
def sum_dx(work: Work) -> Term:
    """Return dx = dy, repeated."""
    return copy("dy", work.dy(), _reduced_index(work))


@backward("Mean", "dx")
def mean_dx(work: Work) -> Term:
    """Return dx = dy / count."""
    shape = work.x().shape
    count = int(np.prod([shape[axis] for axis in _axes(work)]))
    return number(work.dy()[_reduced_index(work)]) / count


def _axes(work: Work) -> Index:
    return normal_axes(work.option("axis"), work.x().ndim)


def _terms(work: Work) -> Any:
    """Return the elements of x that an element of y is the sum of."""
    return _reduced(work, work.x())


def _reduced(work: Work, x: Any) -> Any:
    """Return the elements of an array like x that an element of y is made from."""
    axes, index = _axes(work), [*work.index]
    if work.option("keepdims"):
        index = [i for axis, i in enumerate(index) if axis not in axes]
    rest = iter(index)
    return x[tuple(slice(None) if axis in axes else next(rest) for axis in range(x.ndim))].ravel()


def _reduced_index(work: Work) -> Index:
    """Return the index in dy of what reaches an element of dx."""
    axes, keepdims = _axes(work), work.option("keepdims")
    pairs = enumerate(work.index)
    return tuple(0 if axis in axes else i for axis, i in pairs if keepdims or axis not in axes)


def _group(work: Work) -> Any:
    """Return the elements of x that are reduced together with the chosen one."""
    axes, pairs = _axes(work), enumerate(work.index)
    return work.x()[tuple(slice(None) if axis in axes else i for axis, i in pairs)].ravel()


# --- variance -------------------------------------------------------------------------------------


@forward("Var")
def variance(work: Work) -> Term:
    """y = the sum of (x - mean)^2 / (count - ddof)."""
    x = _terms(work)
    return total(lambda x, m: (x - m) ** 2, x, _mean(work, x)) / _divisor(work, x)


@forward("Std")
def deviation(work: Work) -> Term:
    """y = sqrt(var)."""
    return sqrt(work.let("var", variance(work)))


@backward("Var", "dx")
def variance_dx(work: Work) -> Term:
    """Return dx = dy * 2 * (x - mean) / (count - ddof)."""
    x = _group(work)
    distance = number(work.x()[work.index]) - _mean(work, x)
    return number(work.dy()[_reduced_index(work)]) * 2 * distance / _divisor(work, x)


@backward("Std", "dx")
def deviation_dx(work: Work) -> Term:
    """Return dx = dy * (x - mean) / ((count - ddof) * y); 0 where y is 0."""
    x, where = _group(work), _reduced_index(work)
    y = number(work.y()[where])
    if not y.value:
        return number(0)
    distance = number(work.x()[work.index]) - _mean(work, x)
    return number(work.dy()[where]) * distance / (_divisor(work, x) * y)


def _mean(work: Work, x: Any) -> Term:
    return work.let("mean", total(lambda x: x, x) / int(x.size))


def _divisor(work: Work, x: Any) -> Term:
    return number(max(int(x.size) - int(work.option("ddof")), 0))


# --- extremes -------------------------------------------------------------------------------------


FIND = {"Max": np.argmax, "ArgMax": np.argmax, "Min": np.argmin, "ArgMin": np.argmin}


@forward("Max", "Min")
def extreme(work: Work) -> Term:
    """y = x at the place of the largest, or smallest, element."""
    return copy("x", work.x(), _place(work, FIND[work.step.operation]))


@forward("ArgMax", "ArgMin")
def place_of_extreme(work: Work) -> Term:
    """y = the place of the largest, or smallest, element; it is shown."""
    place = _place(work, FIND[work.step.operation])
    work.let(element("x", place), work.x()[place])
    return number(int(work.y()[work.index]))


@backward("Max", "dx")
@backward("Min", "dx")
def extreme_dx(work: Work) -> Term:
    """Return dx = dy / n for the n elements that equal y, 0 elsewhere; nan counts as equal."""
    where = _reduced_index(work)
    y, x = work.y()[where], work.x()[work.index]
    if x != y and not np.isnan(x):
        return number(0)
    group = _group(work)
    ties = int(((group == y) | np.isnan(group)).sum())
    return number(work.dy()[where]) / ties if ties > 1 else copy("dy", work.dy(), where)


def _place(work: Work, find: Any) -> Index:
    """Return the index in x of what `find` (np.argmax or np.argmin) chooses for an element of y."""
    places = np.arange(math.prod(work.x().shape)).reshape(work.x().shape)
    flat = _reduced(work, places)[int(find(_terms(work)))]
    return tuple(int(i) for i in np.unravel_index(flat, work.x().shape))


# --- sums of exponentials, and of all before ------------------------------------------------------


@forward("LogSumExp")
def log_sum_exp(work: Work) -> Term:
    """y = max + log(sum of exp(x - max))."""
    x = _terms(work)
    largest = np.max(x, initial=-np.inf)
    top = work.let("max", number(largest if np.isfinite(largest) else 0.0))
    return top + log(work.let("sum", total(lambda x, top: exp(x - top), x, top)))


@backward("LogSumExp", "dx")
def log_sum_exp_dx(work: Work) -> Term:
    """Return dx = dy * exp(x - y)."""
    where = _reduced_index(work)
    return number(work.dy()[where]) * exp(number(work.x()[work.index]) - work.y()[where])


@forward("CumSum")
def cumulative_sum(work: Work) -> Term:
    """y_i = x_0 + ... + x_i."""
    row, place = _row(work, work.x()[...], work.index)
    return total(lambda x: x, row[: place + 1])


@backward("CumSum", "dx")
def cumulative_sum_dx(work: Work) -> Term:
    """Return dx_j = dy_j + ... + dy_last."""
    index = work.index
    if work.option("axis") is None:
        index = (int(np.ravel_multi_index(index, work.x().shape)) if index else 0,)
    row, place = _row(work, work.dy()[...], index)
    return total(lambda dy: dy, row[place:])


def _row(work: Work, array: Any, index: Index) -> tuple[Any, int]:
    """Return the elements along the axis through an element, and the place of it in them."""
    axis = work.option("axis")
    if axis is None:
        return array.reshape(-1), index[0]
    axis = normal_axis(axis, array.ndim)
    return array[(*index[:axis], slice(None), *index[axis + 1 :])], index[axis]
