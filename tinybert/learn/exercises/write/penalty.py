"""The repetition penalty: make tokens that have occurred less likely.

Greedy search tends to repeat itself. So, before the next token is chosen, the scores of all tokens
that occur in the text so far are lowered: divided by a penalty such as 1.2.

Scores are not probabilities: they can be negative, and -2 divided by 1.2 is -1.7, which is
*higher*. The rule must lower every score. A token is penalised once, however often it has occurred,
and only in the rows of the batch where it has occurred.
"""

import numpy as np


def penalise_repetition(scores: np.ndarray, ids: np.ndarray, penalty: float) -> np.ndarray:
    """Return new scores (B, V); `scores` is not changed.

    Args:
        scores: (B, V), of the next token.
        ids: (B, T) integers, the text so far.
        penalty: a number > 1.
    """
    # TODO: which tokens each row has, the lowered score of every token, and which of both to take.
    # --- solution
    seen = np.zeros(scores.shape, bool)
    np.put_along_axis(seen, ids, True, axis=1)
    lowered = np.where(scores < 0, scores * penalty, scores / penalty)
    return np.where(seen, lowered, scores)
    # --- end
