"""Sums of products: linear layers, products of matrices, einsum, long convolutions."""

from __future__ import annotations

from functools import reduce
from operator import mul
from typing import Any

import numpy as np

from tinybert.ops.einsum import letters_of
from tinybert.trace.arithmetic.broadcasting import uses
from tinybert.trace.arithmetic.elementwise import phi_of
from tinybert.trace.arithmetic.terms import Term, total
from tinybert.trace.arithmetic.work import ANY, Numbers, Work, backward, forward


def product(a: Any, b: Any) -> Any:
    """Return a * b."""
    return a * b


def products(*factors: Any) -> Any:
    """Return the product of some factors."""
    return reduce(mul, factors)


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


# --- linear and gelu in one -----------------------------------------------------------------------


@forward("LinearGelu")
def linear_gelu(work: Work) -> Term:
    """y = gelu(z) with z = x @ weight^T + bias."""
    z = work.let("z", linear(work))
    return z * phi_of(work, z)


@backward("LinearGelu", "dx")
def linear_gelu_dx(work: Work) -> Term:
    """Return dx[..., i] = sum_o dy[..., o] * gelu'(z[..., o]) * weight[o, i]."""
    *row, i = work.index
    where = tuple(row)
    return total(products, work.dy()[where], _slope(work)[where], work.x("weight")[:, i])


@backward("LinearGelu", "dweight")
def linear_gelu_dweight(work: Work) -> Term:
    """Return dweight[o, i] = the sum of dy[..., o] * gelu'(z[..., o]) * x[..., i] over all rows."""
    o, i = work.index
    return total(products, work.dy()[..., o], _slope(work)[..., o], work.x()[..., i])


@backward("LinearGelu", "dbias")
def linear_gelu_dbias(work: Work) -> Term:
    """Return dbias[o] = the sum of dy[..., o] * gelu'(z[..., o]) over all rows."""
    return total(product, work.dy()[..., work.index[0]], _slope(work)[..., work.index[0]])


def _slope(work: Work) -> Any:
    """Return gelu'(z), which the forward saved, in the shape of y."""
    return work.saved("slope")[...].reshape(work.y().shape)


# --- einsum ---------------------------------------------------------------------------------------


@forward("Einsum")
def einsum(work: Work) -> Term:
    """Return the sum of the products of the operands over the letters that the output lacks."""
    letters, output = _letters(work)
    arrays = [work.x(value.name) for value in work.forward.inputs]
    return _sum_of_products(letters, arrays, dict(zip(output, work.index, strict=True)))


@backward("Einsum", ANY)
def einsum_doperand(work: Work) -> Term:
    """Return the sum of the products of dy and the other operands over the letters of theirs."""
    letters, output = _letters(work)
    names = [f"d{value.name}" for value in work.forward.inputs]
    own = names.index(work.result.name)
    fixed = dict(zip(letters[own], work.index, strict=True))
    others = [n for n in range(len(names)) if n != own]
    arrays = [work.dy(), *(work.x(names[n][1:]) for n in others)]
    return _sum_of_products([output, *(letters[n] for n in others)], arrays, fixed)


def _letters(work: Work) -> tuple[list[str], str]:
    operands = tuple(value.array for value in work.forward.inputs)
    return letters_of(work.option("equation"), operands)


def _sum_of_products(letters: list[str], arrays: list[Numbers], fixed: dict[str, int]) -> Term:
    """Return the sum over all letters that are not fixed."""
    free = [letter for letter in dict.fromkeys("".join(letters)) if letter not in fixed]
    columns = []
    for own, array in zip(letters, arrays, strict=True):
        part = array[tuple(fixed.get(letter, slice(None)) for letter in own)]
        rest = [letter for letter in own if letter not in fixed]
        part = part.transpose([rest.index(letter) for letter in free if letter in rest])
        sizes = iter(part.shape)
        columns.append(part.reshape([next(sizes) if n in rest else 1 for n in free]))
    return total(products, *np.broadcast_arrays(*columns))


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


@forward("Polynomials")
def polynomials(work: Work) -> Term:
    """y[..., d, n] = sum_t coefficient[..., d, t] * base[d, n]^t."""
    *lead, d, n = work.index
    coefficient, base = work.x("coefficient")[(*lead, d)], work.x("base")[d, n]
    return total(lambda c, b, t: c * b**t, coefficient, base, np.arange(coefficient.size))


@backward("Polynomials", "dcoefficient")
def polynomials_dcoefficient(work: Work) -> Term:
    """Return dcoefficient[..., d, t] = sum_n dy[..., d, n] * base[d, n]^t."""
    *lead, d, t = work.index
    dy, base = work.dy()[(*lead, d)], work.x("base")[d]
    return total(lambda dy, b, t: dy * b**t, dy, base, t)


@backward("Polynomials", "dbase")
def polynomials_dbase(work: Work) -> Term:
    """Return dbase[d, n] = sum_t dy[..., d, n] * c[..., d, t] * t * base[d, n]^(t - 1)."""
    d, n = work.index
    coefficient = work.x("coefficient")[..., d, 1:]
    times = np.broadcast_to(np.arange(1, coefficient.shape[-1] + 1), coefficient.shape)
    return total(
        lambda dy, c, t, b: dy * c * t * b ** (t - 1),
        np.broadcast_to(work.dy()[..., d, n][..., None], coefficient.shape), coefficient, times,
        work.x("base")[d, n],
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
