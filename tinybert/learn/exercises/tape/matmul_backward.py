"""Backward of a matrix product: from dy to da and db.

    y = a @ b,    y_ij = sum over k of a_ik b_kj        a (I, K)    b (K, J)    y, dy (I, J)

A number a_ik takes part in the whole row i of y, each time with another factor: b_k1, b_k2, ...
So da_ik is a sum over j of dy_ij b_kj, and that is a matrix product again. Which one? The shapes
tell: there is one way to multiply dy (I, J) and b (K, J) to get (I, K).

NumPy's @ multiplies the last two axes. Axes in front are broadcast: (8, 1, I, K) @ (5, K, J) is
(8, 5, I, J). A matrix that served several products has one gradient, the sum; `unbroadcast` of
tape/unbroadcast computes it. A vector is a matrix with one row (as a) or one column (as b).
"""

import numpy as np

from tinybert.ops.arguments import unbroadcast


def matmul_backward(dy: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return da with the shape of a and db with the shape of b, for y = a @ b."""
    rows = a[None, :] if a.ndim == 1 else a  # (..., I, K)
    columns = b[:, None] if b.ndim == 1 else b  # (..., K, J)
    dy = dy.reshape((rows @ columns).shape)  # (..., I, J)
    # TODO: compute the gradients of `rows` and `columns`; bring them to the shapes of a and b.
    # --- solution
    da = unbroadcast(dy @ columns.swapaxes(-1, -2), rows.shape)
    db = unbroadcast(rows.swapaxes(-1, -2) @ dy, columns.shape)
    return da.reshape(a.shape), db.reshape(b.shape)
    # --- end
