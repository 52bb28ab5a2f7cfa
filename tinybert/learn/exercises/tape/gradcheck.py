"""Gradcheck: find out whether a backward is right.

`backward(x, dy)` is somebody's code for dL/dx, given dy = dL/dy and y = forward(x). Trust it only
after a comparison with finite differences. For any fixed dy, L = sum(dy * forward(x)) is a number
with these gradients; move one element of x by a small step to both sides:

    dL/dx_i  is about  (L(x + step_i) - L(x - step_i)) / (2 eps)

Both sides: the error is then of the order eps^2, and with one side of the order eps. A check that
cannot fail is worth nothing, so:

- dy must be random: with dy of ones, the L of a softmax is constant, and zeros look right;
- every element of x is compared, in float64: a float32 has 7 digits, too few for the difference;
- element i passes if |dx_i - numeric_i| <= 1e-7 + 1e-5 |numeric_i|. nan never passes.
"""

from collections.abc import Callable

import numpy as np


def gradcheck(
    forward: Callable[[np.ndarray], np.ndarray],
    backward: Callable[[np.ndarray, np.ndarray], np.ndarray],
    x: np.ndarray,
    eps: float = 1e-6,
) -> bool:
    """Return whether backward(x, dy) is the gradient of sum(dy * forward(x)) for a random dy.

    x has any shape, and a floating dtype; it is not changed.
    """
    # TODO: a float64 copy of x, a random dy, its backward; then the comparison, element by element.
    # --- solution
    x = x.astype(np.float64)
    dy = np.random.default_rng(0).normal(size=forward(x).shape)
    dx = backward(x, dy)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = eps
        numeric = (dy * (forward(x + step) - forward(x - step))).sum() / (2 * eps)
        if not abs(dx[index] - numeric) <= 1e-7 + 1e-5 * abs(numeric):
            return False
    return True
    # --- end
