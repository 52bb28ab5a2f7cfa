"""LayerNorm: give every token's features mean 0 and variance 1.

    x_hat = (x - mean) / sqrt(variance + eps)          y = x_hat * weight + bias

The last axis of x holds the D features of a token. Mean and variance are computed over this axis
alone, separately for each token: tokens have no effect on each other. The variance is the mean of
the squared distances from the mean, a division by D (not D - 1). eps is a small number; with it, a
token whose features are all equal does not divide by 0. weight and bias are learned, one number for
each feature.
"""

import numpy as np


def layer_norm(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float = 1e-12
) -> np.ndarray:
    """Return y (..., D) for x (..., D), weight (D,) and bias (D,); x is not changed."""
    # TODO: subtract the mean, divide by the standard deviation, then scale and shift.
    # --- solution
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * weight + bias
    # --- end
