"""Backward of a linear layer: gradients of input, weight and bias.

    y = x @ weight.T + bias,    y_bto = bias_o + sum over i of x_bti weight_oi

    x (B, T, I)    weight (O, I)    bias (O,)    y, dy (B, T, O)

B sequences have T tokens each, and every one of the B T tokens goes through the same weight and
bias. For the layer the tokens are just rows of one long matrix: `reshape(-1, size)` makes it. Then
each gradient is one line, and its shape tells most of it: dx is as large as x, dweight as weight,
dbias as bias.
"""

import numpy as np


def linear_backward(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dx, dweight and dbias. x may have any number of axes: (..., I), and dy (..., O)."""
    # TODO: compute the three gradients; a parameter gets the sum over all rows.
    # --- solution
    rows = dy.reshape(-1, dy.shape[-1])
    dweight = rows.T @ x.reshape(-1, x.shape[-1])
    return dy @ weight, dweight, rows.sum(axis=0)
    # --- end
