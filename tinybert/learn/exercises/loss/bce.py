"""Binary cross-entropy: many questions, each with yes or no.

A text can have several labels at once. Each of them has a score x and a target t, 1 for yes and 0
for no (or a number between), and s = sigmoid(x) = 1 / (1 + exp(-x)) is the probability of yes.

    loss = mean over all elements of -(t log s + (1 - t) log(1 - s))
    dloss/dx = (s - t) / number of elements

Computed like this, it is nan for a score of 1000: s is then 1 in floating point, and log(1 - s) is
-inf. Put s into the formula and simplify, and the loss of an element becomes

    max(x, 0) - x t + log(1 + exp(-|x|))

in which no exponent is above 0.
"""

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def bce(x: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the loss and its gradient by x, of the shape of x, for targets t of the same shape."""
    # TODO: the stable formula of the loss, and dx. np.log1p(z) is log(1 + z), exact for small z.
    # --- solution
    losses = np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))
    return losses.mean(), (sigmoid(x) - t) / x.size
    # --- end
