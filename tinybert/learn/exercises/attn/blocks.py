"""Attention without the matrix: read the keys block by block.

    context = sum of exp(s_j) v_j / sum of exp(s_j)      over all keys j, for each query

Both sums can be computed block by block, and the Tq x Tk scores are never in memory at once (flash
attention, online softmax). The one difficulty is the maximum that softmax subtracts: it is not
known before the last block. So use the largest score *so far*, top:

    total    = sum of exp(s_j - top)          gathered = sum of exp(s_j - top) v_j

When a block has a larger score, both sums have been computed with a top that is too small. They can
be corrected: exp(s - new) = exp(s - old) exp(old - new). At the start top is -infinity.
"""

import math

import numpy as np


def attention_in_blocks(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, block: int
) -> np.ndarray:
    """Return softmax(query @ key^T / sqrt(K)) @ value, with `block` keys at a time.

    Shapes: query (..., Tq, K), key (..., Tk, K), value (..., Tk, V), the result (..., Tq, V).
    """
    top = np.full((*query.shape[:-1], 1), -np.inf)
    total = np.zeros_like(top)
    gathered = np.zeros((*query.shape[:-1], value.shape[-1]))
    for start in range(0, key.shape[-2], block):
        some_keys = key[..., start : start + block, :]
        some_values = value[..., start : start + block, :]
        scores = query @ some_keys.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
        # TODO: the new top of each query; correct both sums; add the block; keep the new top.
        # --- solution
        higher = np.maximum(top, scores.max(axis=-1, keepdims=True))
        shrink = np.exp(top - higher)
        e = np.exp(scores - higher)
        total = total * shrink + e.sum(axis=-1, keepdims=True)
        gathered = gathered * shrink + e @ some_values
        top = higher
        # --- end
    return gathered / total
