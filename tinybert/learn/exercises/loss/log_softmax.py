"""Log-softmax: logarithms of probabilities, forward and backward.

    y_i = log p_i = x_i - log(exp(x_1) + exp(x_2) + ... )     over the last axis

A probability of exp(-1000) is 0 in float64, and log 0 is -inf; but y = -1000 is an ordinary number.
So the logarithm is taken on paper, as above, and not of a finished softmax. As in softmax, subtract
the largest score of each row from x first: y stays the same, and exp does not overflow.

    dy_i/dx_j = 1 - p_j if i = j, else -p_j        dx_j = sum over i of dy_i times this

dy in `backward` is dL/dy, an array of y's shape. dx needs p; what do you have to keep for it?
"""

import numpy as np

from tinybert import Function


class LogSoftmax(Function):
    """log(softmax(x)) over the last axis, for x with any number of axes."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        # TODO: return y, after keeping on self what backward needs. Then write the second method,
        # backward(self, dy), which returns dx.
        # --- solution
        shifted = x - x.max(axis=-1, keepdims=True)
        self.y = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return self.y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return dy - np.exp(self.y) * dy.sum(axis=-1, keepdims=True)
        # --- end
