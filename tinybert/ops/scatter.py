"""The sum of values with equal positions: the gradient of every lookup."""

from __future__ import annotations

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
