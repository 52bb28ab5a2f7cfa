"""Answer a question by a span of the text: where does the answer start, and where does it end?

A model for question answering gives every token the log-probability of being the first and of
being the last token of the answer. The answer is the best *pair* of tokens, where

    log P(start, end) = start_log_p[start] + end_log_p[end]

and only some pairs make sense: the end is not before the start, the answer has at most `longest`
tokens, and both tokens are in the text. The input also has the question and special tokens:
`allowed` is False for them.
"""

import numpy as np


def best_span(
    start_log_p: np.ndarray, end_log_p: np.ndarray, allowed: np.ndarray, longest: int
) -> tuple[int, int]:
    """Return the first and the last token of the best answer.

    start_log_p, end_log_p and allowed (bool) have the shape (T,). At least one token is allowed.
    """
    # TODO: the sums of all pairs (T, T), -infinity for pairs that make no sense, the largest one.
    # --- solution
    position = np.arange(len(allowed))
    length = position - position[:, None] + 1
    fits = (length >= 1) & (length <= longest) & allowed[:, None] & allowed
    pairs = np.where(fits, start_log_p[:, None] + end_log_p, -np.inf)
    start, end = divmod(int(pairs.argmax()), len(allowed))
    return start, end
    # --- end
