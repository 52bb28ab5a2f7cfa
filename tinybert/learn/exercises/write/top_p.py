"""Nucleus sampling: keep the likely words, drop the long tail.

Thousands of unlikely words are likely in total, and one of them spoils a text. So keep only the
nucleus: the *smallest* set of most likely words whose probabilities add up to at least `limit`.
All others get 0, and the rest is divided by its sum, so that it is a distribution again.

    p = [0.1, 0.5, 0.3, 0.1], limit = 0.6    ->    [0, 0.625, 0.375, 0]

0.5 alone is less than 0.6, so the next word, which crosses the limit, is kept as well. It helps to
ask of each word: how much do the words before it in the ranking have together? Where two words are
equally likely, the first comes first. The result has the order of the input, not of the ranking.
"""

import numpy as np


def top_p(p: np.ndarray, limit: float) -> np.ndarray:
    """Return the probabilities p (..., V) cut to the nucleus; `limit` is above 0 and at most 1."""
    # TODO: rank the words, sum up, keep the nucleus, put it back into order, divide by its sum.
    # --- solution
    order = np.argsort(-p, axis=-1, kind="stable")
    ranked = np.take_along_axis(p, order, -1)
    before = ranked.cumsum(axis=-1) - ranked
    kept = np.zeros_like(p)
    np.put_along_axis(kept, order, np.where(before < limit, ranked, 0), -1)
    return kept / kept.sum(axis=-1, keepdims=True)
    # --- end
