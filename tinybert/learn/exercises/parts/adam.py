"""Adam: one step, with a step size of its own for each weight.

    m <- beta1 * m + (1 - beta1) * g            running mean of the gradient
    v <- beta2 * v + (1 - beta2) * g^2          running mean of its square
    m_hat = m / (1 - beta1^t)                   both start at 0 and are too small at first;
    v_hat = v / (1 - beta2^t)                   the division corrects this bias
    w <- w - lr * m_hat / (sqrt(v_hat) + eps)

A weight whose gradients always have one sign moves by about lr in every step, whether they are
large or small: m_hat / sqrt(v_hat) is about 1 or -1. Where the sign changes from step to step, m is
small and the weight hardly moves. In the first step t is 1. m and v are kept between steps as they
are, without the correction.
"""

import numpy as np


def adam(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the new w, m and v. All arrays have one shape, and those given are not changed."""
    # TODO: write the five lines of the formula.
    # --- solution
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return w - lr * m_hat / (np.sqrt(v_hat) + eps), m, v
    # --- end
