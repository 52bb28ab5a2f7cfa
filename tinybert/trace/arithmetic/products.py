"""Sums of products: linear layers, products of matrices, sums and means, long convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.ops.arguments import normal_axes
from tinybert.trace.arithmetic.broadcasting import uses
from tinybert.trace.arithmetic.terms import Term, number, total
from tinybert.trace.arithmetic.work import Index, Numbers, Work, backward, copy, forward


def product(a: Any, b: Any) -> Any:
    """Return a * b."""
    return a * b


# --- linear ---------------------------------------------------------------------------------------


@forward("Linear")
def linear(work: Work) -> Term:
    """y[..., o] = sum_i x[..., i] * weight[o, i] + bias[o]."""
    *row, o = work.index
    products = total(product, work.x()[tuple(row)], work.x("weight")[o])
    if not work.has("bias"):
        return products
    return work.let("sum", products) + work.x("bias")[o]


@backward("Linear", "dx")
def linear_dx(work: Work) -> Term:
    """Return dx[..., i] = sum_o dy[..., o] * weight[o, i]."""
    *row, i = work.index
    return total(product, work.dy()[tuple(row)], work.x("weight")[:, i])


@backward("Linear", "dweight")
def linear_dweight(work: Work) -> Term:
    """Return dweight[o, i] = the sum of dy[..., o] * x[..., i] over all rows."""
    o, i = work.index
    return total(product, work.dy()[..., o], work.x()[..., i])


@backward("Linear", "dbias")
def linear_dbias(work: Work) -> Term:
    """Return dbias[o] = the sum of dy[..., o] over all rows."""
    return total(lambda dy: dy, work.dy()[..., work.index[0]])


# --- matmul ---------------------------------------------------------------------------------------


@forward("MatMul")
def matmul(work: Work) -> Term:
    """y[..., i, j] = sum_k a[..., i, k] * b[..., k, j]."""
    a, b = _matrices(work)
    index = [*work.index]
    if work.x("a").ndim == 1:
        index.insert(len(index) - (work.x("b").ndim > 1), 0)
    if work.x("b").ndim == 1:
        index.append(0)
    *batch, i, j = index
    return total(product, _batch(a, batch)[i], _batch(b, batch)[:, j])


@backward("MatMul", "da")
def matmul_da(work: Work) -> Term:
    """Return da[..., i, k] = sum_j dy[..., i, j] * b[..., k, j]."""
    a, b = _matrices(work)
    *batch, i, k = (0, *work.index) if work.x("a").ndim == 1 else work.index
    dy = _matrix_dy(work)
    where = uses(a.shape[:-2], tuple(batch), dy.shape[:-2])
    wide = b.spread((*dy.shape[:-2], *b.shape[-2:]))
    return total(product, dy[(*where, i)], wide[(*where, k)])


@backward("MatMul", "db")
def matmul_db(work: Work) -> Term:
    """Return db[..., k, j] = sum_i dy[..., i, j] * a[..., i, k]."""
    a, b = _matrices(work)
    *batch, k, j = (*work.index, 0) if work.x("b").ndim == 1 else work.index
    dy = _matrix_dy(work)
    where = uses(b.shape[:-2], tuple(batch), dy.shape[:-2])
    wide = a.spread((*dy.shape[:-2], *a.shape[-2:]))
    every = slice(None)
    return total(product, dy[(*where, every, j)], wide[(*where, every, k)])


def _matrices(work: Work) -> tuple[Numbers, Numbers]:
    """Return both operands; a vector as a row on the left, as a column on the right."""
    a, b = work.x("a").array, work.x("b").array
    return Numbers(a[None] if a.ndim == 1 else a), Numbers(b[:, None] if b.ndim == 1 else b)


def _matrix_dy(work: Work) -> Numbers:
    """Return dy with the axes of a product of matrices."""
    dy = work.dy().array
    if work.x("a").ndim == 1:
        dy = dy[..., None, :] if work.x("b").ndim > 1 else dy[None]
    return Numbers(dy[..., None] if work.x("b").ndim == 1 else dy)


def _batch(array: Numbers, batch: list[int]) -> Any:
    """Return the matrix of an operand that belongs to a place in the batch."""
    own = batch[len(batch) - (array.ndim - 2) :]
    return array[tuple(0 if n == 1 else i for i, n in zip(own, array.shape, strict=False))]


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
    x, axes, index = work.x(), _axes(work), [*work.index]
    if work.option("keepdims"):
        index = [i for axis, i in enumerate(index) if axis not in axes]
    rest = iter(index)
    return x[tuple(slice(None) if axis in axes else next(rest) for axis in range(x.ndim))].ravel()


def _reduced_index(work: Work) -> Index:
    """Return the index in dy of what reaches an element of dx."""
    axes, keepdims = _axes(work), work.option("keepdims")
    pairs = enumerate(work.index)
    return tuple(0 if axis in axes else i for axis, i in pairs if keepdims or axis not in axes)


# --- moving averages ------------------------------------------------------------------------------


@forward("PowerSums")
def power_sums(work: Work) -> Term:
    """y[..., d, t] = sum_n weight[..., d, n] * base[d, n]^t."""
    *lead, d, t = work.index
    weight, base = work.x("weight")[(*lead, d)], work.x("base")[d]
    return total(lambda w, b, t: w * b**t, weight, base, t)


@backward("PowerSums", "dweight")
def power_sums_dweight(work: Work) -> Term:
    """Return dweight[..., d, n] = sum_t dy[..., d, t] * base[d, n]^t."""
    *lead, d, n = work.index
    dy, base = work.dy()[(*lead, d)], work.x("base")[d, n]
    return total(lambda dy, b, t: dy * b**t, dy, base, np.arange(dy.size))


@backward("PowerSums", "dbase")
def power_sums_dbase(work: Work) -> Term:
    """Return dbase[d, n] = sum_t dy[..., d, t] * weight[..., d, n] * t * base[d, n]^(t - 1)."""
    d, n = work.index
    dy, weight = work.dy()[..., d, 1:], work.x("weight")[..., d, n]
    times = np.broadcast_to(np.arange(1, dy.shape[-1] + 1), dy.shape)
    return total(
        lambda dy, w, t, b: dy * w * t * b ** (t - 1),
        dy, np.broadcast_to(weight[..., None], dy.shape), times, work.x("base")[d, n],
    )  # fmt: skip


@forward("LongConvolution")
def long_convolution(work: Work) -> Term:
    """y[b, t, d] = sum_j back[d, j] * x[b, t - j, d] + sum_j ahead[d, j] * x[b, t + j, d]."""
    b, t, d = work.index
    return _both_ways(work, work.x()[b, :, d], t, d, -1)


@backward("LongConvolution", "dx")
def long_convolution_dx(work: Work) -> Term:
    """Return dx[b, t, d] = sum_j back[d, j] * dy[b, t + j, d] + ahead[d, j] * dy[b, t - j, d]."""
    b, t, d = work.index
    return _both_ways(work, work.dy()[b, :, d], t, d, 1)


@backward("LongConvolution", "dback")
def long_convolution_dback(work: Work) -> Term:
    """Return dback[d, j] = the sum of dy[b, t, d] * x[b, t - j, d] over b and t."""
    d, j = work.index
    dy, x = work.dy()[..., d], work.x()[..., d]
    return total(product, dy[:, j:], x[:, : max(x.shape[1] - j, 0)])


@backward("LongConvolution", "dahead")
def long_convolution_dahead(work: Work) -> Term:
    """Return dahead[d, j] = the sum of dy[b, t, d] * x[b, t + j, d] over b and t."""
    d, j = work.index
    dy, x = work.dy()[..., d], work.x()[..., d]
    return total(product, dy[:, : max(x.shape[1] - j, 0)], x[:, j:])


def _both_ways(work: Work, x: Any, t: int, d: int, direction: int) -> Term:
    """Return the sum of back[d, j] * x[t + direction j] and ahead[d, j] * x[t - direction j]."""
    factors, values = [], []
    for name, step in (("back", direction), ("ahead", -direction)):
        if work.has(name):
            row = work.x(name)[d]
            j = np.arange(row.size)
            inside = (t + step * j >= 0) & (t + step * j < x.size)
            factors.append(row[inside])
            values.append(x[t + step * j[inside]])
    return total(product, np.concatenate(factors), np.concatenate(values))
