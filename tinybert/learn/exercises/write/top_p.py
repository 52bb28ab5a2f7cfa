"""Top-p (nucleus) sampling: keep the likely tokens, drop the long tail.

Each unlikely token is rare, but thousands of them are likely in total, and one can spoil a text. So
keep only the nucleus: the *smallest* set of most likely tokens whose probabilities add up to at
least `limit`. The others get 0, and the kept probabilities are divided by their sum.

    p = [0.1, 0.5, 0.3, 0.1], limit = 0.6    ->    [0, 0.625, 0.375, 0]

0.5 alone is less than 0.6, so the next token, which crosses the limit, is kept as well. A token is
kept if the sum of all tokens *before* it in the ranking is below the limit. Equally likely tokens
are ranked by their ids, lowest first. The result has the order of the input.
"""

import numpy as np


def top_p(p: np.ndarray, limit: float) -> np.ndarray:
    """Return the probabilities p (..., V) cut to the nucleus; `limit` is above 0 and at most 1."""
    # TODO: rank the tokens, sum up, keep the nucleus, restore the order, divide by the sum.
    # --- solution
    order = np.argsort(-p, axis=-1, kind="stable")
    ranked = np.take_along_axis(p, order, -1)
    before = ranked.cumsum(axis=-1) - ranked
    kept = np.zeros_like(p)
    np.put_along_axis(kept, order, np.where(before < limit, ranked, 0), -1)
    return kept / kept.sum(axis=-1, keepdims=True)
    # --- end
