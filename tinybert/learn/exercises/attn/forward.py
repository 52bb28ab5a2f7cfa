"""Multi-head attention: every token reads from the tokens that match it.

    context = softmax(q @ k^T / sqrt(K) + mask) @ v        for each head

The D features of a token are H heads of K = D / H features. Head h has the features h K to
(h + 1) K - 1. `split_heads` returns (B, T, D) as (B, H, T, K): then `@`, which multiplies the last
two axes, works on all heads at once. At the end the heads of a token are concatenated again.

The mask is 0 for keys to read and a huge negative number for padding. It broadcasts to the scores
(B, H, Tq, Tk). A masked key has the weight exp(-huge) = 0.
"""

import math

import numpy as np

from tinybert.learn.layers import softmax, split_heads


def multi_head_attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    heads: int,
    mask: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Return the context (B, Tq, D) of query (B, Tq, D), key and value (B, Tk, D)."""
    # TODO: split all three, scores, mask, softmax over the keys, product with the values, merge.
    # --- solution
    q, k, v = (split_heads(x, heads) for x in (query, key, value))
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]) + mask
    context = softmax(scores) @ v
    return context.swapaxes(1, 2).reshape(query.shape)
    # --- end
