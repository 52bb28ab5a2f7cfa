"""RMSNorm: LayerNorm without the mean, forward and backward.

    r = 1 / sqrt(mean(x^2) + eps)          y = x * r * weight

The mean runs over the D features of a row. No mean is subtracted and there is no bias, yet large
language models train as well with it as with LayerNorm. For backward, let g = dL/d(x * r). Each x_j
acts directly, and through r:

    dr / dx_j = -r^3 * x_j / D          dx = r * g + (what comes through r)

What comes through r is the sum over i of g_i * x_i * dr/dx_j; with the division by D the sum is a
mean. weight is used in every row, so its gradient is a sum over the rows.
"""

import numpy as np


def rms_norm(
    x: np.ndarray, weight: np.ndarray, eps: float, dy: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return y (N, D), and from dy = dL/dy (N, D) the gradients dx (N, D) and dweight (D,)."""
    # TODO: first r, with one number for each row, and y; then g, dx and dweight.
    # --- solution
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    y = x * r * weight
    g = dy * weight
    dx = r * (g - x * r**2 * (g * x).mean(axis=-1, keepdims=True))
    return y, dx, (dy * x * r).sum(axis=0)
    # --- end
