"""Mean pooling: one vector for a whole text.

    vector = sum of the states of the real tokens / number of real tokens

In a batch, short texts are padded. The states of padding are not zero, so they must be neither in
the sum nor in the number: a text has to get the same vector alone and in any batch. A row without
any token is possible as well; its vector is 0, not NaN.

A trap of NumPy: float32 times int64 is float64. The result has the dtype of the states.
"""

import numpy as np


def mean_pooling(states: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the vectors (B, D) of states (B, T, D).

    `mask` (B, T) has integers: 1 for a token, 0 for padding, which can be at either end.
    """
    # TODO: give the mask an axis and a dtype that fit, then divide one sum by another.
    # --- solution
    weights = mask[:, :, None].astype(states.dtype)
    return (states * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
    # --- end
