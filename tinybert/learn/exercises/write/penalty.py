"""The repetition penalty: make words that have occurred less likely.

Greedy search likes to repeat itself. So, before the next word is chosen, the scores of all words
that occur in the text so far are made worse: divided by a penalty such as 1.2.

Scores are not probabilities. They can be negative, and dividing -2 by 1.2 gives -1.7, which is
*better*. "Worse" means nearer to minus infinity for every score. And a word is punished once,
however often it has occurred, in the rows of the batch where it has occurred.
"""

import numpy as np


def punish_repetition(scores: np.ndarray, ids: np.ndarray, penalty: float) -> np.ndarray:
    """Return new scores (B, V); `scores` is not changed.

    Args:
        scores: (B, V), of the next word.
        ids: (B, T) integers, the text so far.
        penalty: a number > 1.
    """
    # TODO: which words each row has seen, the worse score of every word, and which of both to take.
    # --- solution
    seen = np.zeros(scores.shape, bool)
    np.put_along_axis(seen, ids, True, axis=1)
    worse = np.where(scores < 0, scores * penalty, scores / penalty)
    return np.where(seen, worse, scores)
    # --- end
