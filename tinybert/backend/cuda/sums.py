"""Sums over many rows: the gradient of a lookup, and those of the weights of a layer norm."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tinybert.backend.cuda.launch import contiguous, elementwise, wide

Array = Any

STRIP = 64  # rows that one thread adds
FEW = 32  # up to so many different positions, a product with one-hot rows is faster


def scatter_sum(values: Array, positions: Array, count: int) -> Array:
    """Add rows with equal positions in a fixed order, which atomic additions would not have."""
    if values.dtype.kind == "c":
        real, imaginary = (scatter_sum(v, positions, count) for v in (values.real, values.imag))
        return real + 1j * imaginary
    if values.ndim != 2:
        rows = values.reshape(len(values), int(np.prod(values.shape[1:])))
        return scatter_sum(rows, positions, count).reshape(count, *values.shape[1:])
    if not positions.size or not values.shape[1]:
        return cupy.zeros((count, values.shape[1]), values.dtype)
    positions = positions.astype(np.int64, copy=False)
    if count <= FEW and values.dtype.kind == "f":
        one_hot = elementwise(
            "int64 row, int64 position", "T hit", "hit = T(W(row == position));", "one_hot"
        )
        hits = cupy.empty((count, len(positions)), values.dtype)
        one_hot(cupy.arange(count)[:, None], positions, hits)
        return hits @ values
    return _sum_of_runs(contiguous(values), positions, count)


def _sum_of_runs(values: Array, positions: Array, count: int) -> Array:
    """Sort the positions; equal ones are a run then, however long.

    A thread adds the rows of one strip of the sorted ones, for one column. A run that ends inside
    the strip where it begins is complete. Of the others a strip adds its part: the strip's `head`
    if the run began before it, else its `tail`. A second kernel adds the parts of each run.
    """
    number, width = values.shape
    order = cupy.argsort(positions)
    starts = cupy.searchsorted(positions[order], cupy.arange(count + 1))
    strips = -(-number // STRIP)
    out = cupy.empty((count, width), values.dtype)
    head, tail = (cupy.empty((strips, width), wide(values.dtype)) for _ in range(2))
    strips_of = elementwise(
        "raw T values, raw int64 order, raw int64 positions, raw int64 starts, int64 number, "
        "int64 width, int64 strip",
        "raw T out, raw V head, raw V tail", _STRIPS, "sums_of_strips",
    )  # fmt: skip
    strips_of(
        values, order, positions, starts, number, width, STRIP, out, head, tail, size=strips * width
    )
    runs = elementwise(
        "raw V head, raw V tail, raw int64 starts, int64 width, int64 strip", "T out", _RUNS,
        "sums_of_runs",
    )  # fmt: skip
    return runs(head, tail, starts, width, STRIP, out)


_STRIPS = """
    const ptrdiff_t column = i % width, from = i / width * strip;
    const ptrdiff_t until = from + strip < number ? from + strip : number;
    ptrdiff_t k = from;
    while (k < until) {
        const ptrdiff_t row = positions[order[k]], end = starts[row + 1];
        const ptrdiff_t stop = end < until ? end : until;
        const bool began_before = starts[row] < from;
        W total = W(0);
        for (; k < stop; ++k) total += W(values[order[k] * width + column]);
        if (began_before) head[i] = total;
        else if (end > until) tail[i] = total;
        else out[row * width + column] = T(total);
    }
"""
_RUNS = """
    const ptrdiff_t row = i / width, column = i % width, start = starts[row], end = starts[row + 1];
    if (start == end) {
        out = T(W(0));
    } else if (start / strip != (end - 1) / strip) {
        W total = tail[start / strip * width + column];
        for (ptrdiff_t k = start / strip + 1; k <= (end - 1) / strip; ++k)
            total += head[k * width + column];
        out = T(total);
    }
"""


def column_sums(dy: Array, x_hat: Array) -> tuple[Array, Array]:
    """Return the sums of dy * x_hat and of dy over the rows, (D,) each, in the dtype of dy.

    A thread adds one strip of rows; the sums of the strips are added then.
    """
    number, width = dy.shape
    strips = -(-number // STRIP)
    parts = cupy.empty((2, strips, width), wide(dy.dtype))
    add = elementwise(
        "raw T dy, raw T x_hat, int64 number, int64 width, int64 strip, int64 parts",
        "raw V sums", _COLUMNS, "column_sums",
    )  # fmt: skip
    if strips * width:
        add(dy, x_hat, number, width, STRIP, strips, parts, size=strips * width)
    join = elementwise(
        "raw V parts, int64 strips, int64 width", "T products, T sums", _JOINED, "joined_sums"
    )
    products, sums = (cupy.empty(width, dy.dtype) for _ in range(2))
    return join(parts, strips, width, products, sums) if width else (products, sums)


_COLUMNS = """
    const ptrdiff_t column = i % width, from = i / width * strip;
    const ptrdiff_t until = from + strip < number ? from + strip : number;
    W product = W(0), sum = W(0);
    for (ptrdiff_t k = from; k < until; ++k) {
        product += W(dy[k * width + column]) * W(x_hat[k * width + column]);
        sum += W(dy[k * width + column]);
    }
    sums[i] = product;
    sums[parts * width + i] = sum;
"""

_JOINED = """
    W product = W(0), sum = W(0);
    for (ptrdiff_t k = 0; k < strips; ++k) {
        product += parts[k * width + i];
        sum += parts[(strips + k) * width + i];
    }
    products = T(product);
    sums = T(sum);
"""

KERNELS = {"scatter_sum": scatter_sum}
