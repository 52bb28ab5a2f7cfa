"""Extractive question answering: find the best span of the text.

The model computes for every token the log-probability that the answer starts there, and that it
ends there. The answer is the best *pair* of tokens, where

    log P(start, end) = start_log_p[start] + end_log_p[end]

and only some pairs are valid: the end is not before the start, the answer has at most `longest`
tokens, and both tokens are in the text. The input also contains the question and special tokens;
`allowed` is False for them.
"""

import numpy as np


def best_span(
    start_log_p: np.ndarray, end_log_p: np.ndarray, allowed: np.ndarray, longest: int
) -> tuple[int, int]:
    """Return the first and the last token of the best answer.

    start_log_p, end_log_p and allowed (bool) have the shape (T,). At least one token is allowed.
    """
    # TODO: the sums of all pairs (T, T), -infinity for invalid pairs, and the largest of them.
    # --- solution
    position = np.arange(len(allowed))
    length = position - position[:, None] + 1
    fits = (length >= 1) & (length <= longest) & allowed[:, None] & allowed
    pairs = np.where(fits, start_log_p[:, None] + end_log_p, -np.inf)
    start, end = divmod(int(pairs.argmax()), len(allowed))
    return start, end
    # --- end
