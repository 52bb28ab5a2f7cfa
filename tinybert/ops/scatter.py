"""The sum of values with equal positions: the gradient of every lookup."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.backend import Array, array_module, kernel
from tinybert.ops.arguments import converted, sum_dtype


@kernel
def scatter_sum(values: Array, positions: Array, count: int) -> Array:
    """Return out (count, ...) with out[positions[i]] += values[i].

    values (N, ...) and positions (N,) integers from 0 to count - 1, which may repeat. The result
    has the dtype of values.
    """
    xp = array_module(values)
    out = xp.zeros((count, *values.shape[1:]), sum_dtype(values))
    xp.add.at(out, positions, values)
    return converted(out, values.dtype)


@scatter_sum.on("cpu")
def scatter_sum_on_cpu(values: Array, positions: Array, count: int) -> Array:
    """Sort the positions, and add each run of equal rows by one `reduceat`."""
    if values.ndim == 1:
        return scatter_sum.formula(values, positions, count)
    out = np.zeros((count, *values.shape[1:]), values.dtype)
    if positions.size:
        order = np.argsort(positions, kind="stable")
        ordered = positions[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        sums = np.add.reduceat(values[order], starts, axis=0, dtype=sum_dtype(values))
        out[ordered[starts]] = sums
    return out


@scatter_sum.on("cuda")
def scatter_sum_on_cuda(values: Array, positions: Array, count: int) -> Array:
    """Sort the positions; one thread adds each run of equal ones, for each element of a row.

    The order of the additions is fixed, and every dtype works; neither holds for atomic additions.
    """
    if values.dtype.kind == "c":
        real, imaginary = (scatter_sum(v, positions, count) for v in (values.real, values.imag))
        return real + 1j * imaginary
    if values.ndim == 1:
        return scatter_sum(values[:, None], positions, count)[:, 0]
    from tinybert.backend import cuda

    xp = array_module(values)
    if not positions.size:
        return xp.zeros((count, values.shape[1]), values.dtype)
    out = xp.empty((count, values.shape[1]), values.dtype)
    positions = positions.astype(np.int64, copy=False)
    order = xp.argsort(positions)
    starts = xp.searchsorted(positions[order], xp.arange(count + 1))
    sum_of_runs: Any = cuda.elementwise(
        "raw T values, raw int64 order, raw int64 starts, int64 width",
        "T out",
        """
    const ptrdiff_t row = i / width, column = i % width;
    W total = W(0);
    for (ptrdiff_t k = starts[row]; k < starts[row + 1]; ++k)
        total += W(values[order[k] * width + column]);
    out = T(total);
    """,
        "sum_of_runs",
    )
    return sum_of_runs(xp.ascontiguousarray(values), order, starts, values.shape[1], out)
