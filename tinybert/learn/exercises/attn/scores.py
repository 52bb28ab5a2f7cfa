"""Attention scores: how well does each key match each query?

    score[i, j] = q_i . k_j / sqrt(K) + mask[i, j]

q_i . k_j is a dot product of two vectors with K numbers. If these numbers have variance 1, the dot
product has variance K: the larger the heads, the more extreme the scores, and softmax would give
nearly all weight to one key. Divided by sqrt(K), the scores have variance 1 for heads of any size.
The mask is added at the end: 0 for a key to attend to, a huge negative number for a hidden key.
"""

import math

import numpy as np


def scores(query: np.ndarray, key: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the scores (B, H, Tq, Tk), before softmax.

    Args:
        query: (B, H, Tq, K), Tq queries in each of H heads.
        key: (B, H, Tk, K), Tk keys in each head.
        mask: broadcasts to (B, H, Tq, Tk).
    """
    # TODO: one matrix product for all pairs, the division, the mask.
    # --- solution
    return query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]) + mask
    # --- end
