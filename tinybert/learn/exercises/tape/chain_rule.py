"""Chain rule: the gradients of one neuron.

A neuron computes one number a for each row of x: a weighted sum, a bias, and tanh. The loss L
compares these numbers with their targets t.

    z = x w + b        a = tanh(z)        L = mean over the rows of (a - t)^2

    x (B, I)    w (I,)    b a number    z, a, t (B,)    L a number

How much does L grow if a weight, or the bias, grows a little? Go through the formulas from the last
to the first. Write da for dL/da, and so on; da has the shape of a. The chain rule: dz is da times
the derivative of a with respect to z, and dw is dz times the derivative of z with respect to w. The
derivative of tanh(z) is 1 - tanh(z)^2.
"""

import numpy as np


def neuron_backward(
    x: np.ndarray, w: np.ndarray, b: float, t: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return dw = dL/dw (I,) and db = dL/db (a number)."""
    z = x @ w + b
    a = np.tanh(z)
    # TODO: compute da and dz, both (B,). w and b are used by every row: dw and db are sums over B.
    # --- solution
    da = 2 * (a - t) / len(x)
    dz = da * (1 - a**2)
    return x.T @ dz, dz.sum()
    # --- end
