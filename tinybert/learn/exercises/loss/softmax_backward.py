"""Backward of softmax: from the gradient of the probabilities to that of the scores.

    p = softmax(s),    dp_i/ds_j = p_i (1 - p_i) if i = j, else -p_i p_j

One score moves all probabilities of its row: where one grows, the others shrink. So ds_j is a sum
over all i of dp_i times this derivative. Written out, most of the sum is the same number for the
whole row, and no matrix of derivatives is needed: two products, one sum, one difference.

dp is dL/dp, the gradient that the next operation passes back.
"""

import numpy as np


def softmax_backward(dp: np.ndarray, p: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return ds, with the shape of p; p sums to 1 over `axis`. dp and p are not changed."""
    # TODO: put the derivative into the sum, take p_j out of it, and see what is left.
    # --- solution
    return p * (dp - (dp * p).sum(axis=axis, keepdims=True))
    # --- end
