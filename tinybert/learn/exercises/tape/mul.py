"""Mul: a product that knows its gradients.

    y = a * b,    dL/da = dy * b,    dL/db = dy * a

dy is dL/dy, the gradient that the next operation passes back. a and b may have different shapes:
NumPy broadcasts the smaller one, so that one of its numbers takes part in many products. Its
gradient is then the sum over all of them, in the shape that the input has. `unbroadcast(gradient,
shape)` computes this sum.
"""

import numpy as np

from tinybert import Function
from tinybert.ops.arguments import unbroadcast


class Mul(Function):
    """a * b for arrays of any shapes that broadcast."""

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.a, self.b = a, b
        return a * b

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # TODO: return dL/da with the shape of a and dL/db with the shape of b.
        # --- solution
        da = unbroadcast(dy * self.b, self.a.shape)
        db = unbroadcast(dy * self.a, self.b.shape)
        return da, db
        # --- end
