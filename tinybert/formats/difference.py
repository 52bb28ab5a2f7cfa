"""The difference of two arrays; NaN and infinities are counted, not averaged."""

from typing import NamedTuple

import numpy as np

BLOCK = 1 << 18  # elements compared at a time


class Difference(NamedTuple):
    """The result of `difference`.

    Attributes
    ----------
    largest, mean : of |a - b| in float64, over elements that are finite in both arrays or equal.
    unlike : the number of elements that are NaN or infinite in one array and differ in the other.
    """

    largest: float
    mean: float
    unlike: int


EQUAL = Difference(0.0, 0.0, 0)


def difference(a: np.ndarray, b: np.ndarray) -> Difference:
    """Compare two arrays of one shape and any dtypes; NaN equals NaN, and an infinity itself.

    Works block by block to save memory. Two integers that differ have a difference of at least 1,
    however large they are. Raises ValueError when the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"a has shape {a.shape}, b has {b.shape}")
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    largest, total, unlike = 0.0, 0.0, 0
    for start in range(0, flat_a.size, BLOCK):
        x, y = flat_a[start : start + BLOCK], flat_b[start : start + BLOCK]
        apart = x != y
        if not apart.any():
            continue
        x, y = x[apart], y[apart]
        unlike += int((~np.isfinite(x) | ~np.isfinite(y)).sum() - (np.isnan(x) & np.isnan(y)).sum())
        gaps = _gaps(x, y)
        largest = max(largest, float(gaps.max(initial=0.0)))
        total += float(gaps.sum())
    return Difference(largest, total / max(1, flat_a.size - unlike), unlike)


def _gaps(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return |x - y| of the elements that differ and are finite in both."""
    finite = np.isfinite(x) & np.isfinite(y)
    wide = np.complex128 if "c" in (x.dtype.kind, y.dtype.kind) else np.float64
    gaps = np.abs(x[finite].astype(wide) - y[finite].astype(wide))
    integers = x.dtype.kind in "iub" and y.dtype.kind in "iub"
    return np.maximum(gaps, 1.0) if integers else gaps
