"""AdamW: Adam with weight decay that bypasses the running means.

Weight decay makes weights smaller in every step, so that only those stay large that reduce the
loss. If decay * w is added to the gradient, Adam divides it by sqrt(v_hat): weights with large
gradients then hardly decay. AdamW applies the decay to the weight itself, before the step of Adam:

    w <- w - lr * decay * w
    w <- w - lr * m_hat / (sqrt(v_hat) + eps)

m and v see the plain gradient. Usually biases and the weights of LayerNorm are not decayed. All of
them are arrays of one axis, and matrices have two: decay only arrays of two axes or more.
"""

import numpy as np


def adam(
    w: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: int, lr: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the new w, m and v of a step of Adam; the arrays given are not changed."""
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g**2
    m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
    return w - lr * m_hat / (np.sqrt(v_hat) + 1e-8), m, v


def adamw(
    w: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: int, lr: float, decay: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the new w, m and v; the arrays given are not changed."""
    # TODO: decay w if it has two axes or more, then let adam do its step.
    # --- solution
    if w.ndim > 1:
        w = w - lr * decay * w
    return adam(w, g, m, v, t, lr)
    # --- end
