"""Relative positions: scores that depend on the distance of two tokens.

    score(l, r) = (q_l . k_r + q_l . E[l - r]) / sqrt(K)

l is the position of the query and r that of the key. E has a vector of K features for each
distance from -(P - 1) to P - 1, where P is the largest number of positions. An array has no
negative rows: row 0 of `table` is the distance -(P - 1), its middle row is the distance 0.

NumPy accepts a negative index without an error and counts it from the end. With a cache of earlier
keys there are more keys than queries: the queries are then the *last* Tq of the Tk tokens.
"""

import math

import numpy as np


def relative_scores(query: np.ndarray, key: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return the scores (B, H, Tq, Tk) before softmax.

    Args:
        query: (B, H, Tq, K).
        key: (B, H, Tk, K), with Tk >= Tq.
        table: (2 P - 1, K), with P >= Tk.
    """
    queries, keys = query.shape[2], key.shape[2]
    # TODO: the distances l - r (Tq, Tk), their rows of the table (Tq, Tk, K), then the scores.
    # --- solution
    position = np.arange(keys)
    distance = position[keys - queries :, None] - position
    rows = table[distance + len(table) // 2]
    scores = query @ key.swapaxes(-1, -2) + np.einsum("bhlk,lrk->bhlr", query, rows)
    return scores / math.sqrt(query.shape[-1])
    # --- end
