"""The causal mask: no token attends to a later one.

A model that predicts the next token must not see it. Query i may attend to the keys up to its own
position; later keys get the lowest number of the dtype, added to their scores:

    queries = 3, keys = 5         key   0       1       2       3       4
                           query 0      0       0       0    lowest  lowest
                                 1      0       0       0       0    lowest
                                 2      0       0       0       0       0

When a text is generated, the keys of earlier tokens come from a cache: there are more keys than
queries, and the queries are the last tokens. In the example two keys are from the past, so query 0
is the token of key 2. Padding is hidden as well. But lowest + lowest is -infinity, so the two masks
must not be added: a key is hidden if either of them hides it.
"""

import numpy as np


def causal_mask(padding: np.ndarray, queries: int) -> np.ndarray:
    """Return the numbers to add to the scores, (B, 1, Tq, Tk), with the dtype of padding.

    Args:
        padding: the padding mask, (B, 1, 1, Tk): 0 for a token, the lowest number for padding.
        queries: Tq, at most Tk.
    """
    # TODO: find the pairs where the key is later than the query, then combine with padding.
    # --- solution
    keys = padding.shape[-1]
    past = keys - queries
    later = np.triu(np.ones((queries, keys), bool), k=past + 1)
    return np.where(later, np.finfo(padding.dtype).min, padding)
    # --- end
