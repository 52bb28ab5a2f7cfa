"""The gradients of LayerNorm: dx, dweight and dbias.

    rstd = 1 / sqrt(variance + eps)     x_hat = (x - mean) * rstd     y = x_hat * weight + bias

weight and bias are used in every row, so their gradients are sums over the rows.
For dx, let dx_hat be dL/dx_hat. Each x_j acts on all x_hat_i of its row: directly, through the mean
and through the variance. With D features,

    d x_hat_i / d x_j = rstd * (1 if i == j else 0)
                      - rstd / D
                      - rstd * x_hat_i * x_hat_j / D

Multiply by dx_hat_i and sum over i: a sum over the features, divided by D, is a mean. Each of the
three lines gives one term of dx. x_hat and rstd were kept by forward, so x is not needed.
"""

import numpy as np


def layer_norm_backward(
    dy: np.ndarray, x_hat: np.ndarray, rstd: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dx (N, D), dweight (D,) and dbias (D,).

    Args:
        dy: dL/dy, (N, D): N rows (all tokens of the batch) of D features.
        x_hat: (N, D), the normalized rows.
        rstd: (N, 1), one number for each row.
        weight: (D,).
    """
    # TODO: first dx_hat, then the three terms of dx, and the two sums over rows.
    # --- solution
    dx_hat = dy * weight
    shift = dx_hat.mean(axis=-1, keepdims=True)
    stretch = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
    dx = rstd * (dx_hat - shift - x_hat * stretch)
    return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)
    # --- end
