"""Softmax: turn scores into probabilities.

    p_i = exp(x_i) / (exp(x_1) + exp(x_2) + ... )     over one axis

All p_i are positive and their sum is 1. Two things make it less easy than it looks:

- exp(1000) is infinite in float64, and infinite / infinite is not a number. But p does not change
  when the same number is subtracted from all scores: choose it well.
- The sum runs over `axis`, and the array may have any number of axes.
"""

import numpy as np


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the probabilities of the scores x, of x's shape and dtype; x is not changed."""
    # TODO: three steps: make the largest score 0, take exp, divide by the sum.
    # --- solution
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
    # --- end
