"""Cross-entropy: the loss of a classifier that must not count everything.

    loss = -mean of log p[n, label_n]        p = softmax(scores) over the classes

    scores (N, C)    labels (N,), class numbers from 0 to C - 1, or -100

The label -100 says: ignore this row. In masked language modeling these are the tokens that were not
chosen, in a batch the padding. An ignored row is neither in the sum nor in the number of terms.
-100 is an index, too: NumPy counts it from the end of the row, and raises no error if there are 100
classes or more.
"""

import numpy as np


def log_softmax(x: np.ndarray) -> np.ndarray:
    """Return log p for scores (N, C)."""
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def cross_entropy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean loss over the rows that count; nan if there is none."""
    # TODO: choose the rows that count; of each take log p of its label.
    # --- solution
    rows = np.flatnonzero(labels != -100)
    log_p = log_softmax(scores)[rows, labels[rows]]
    return -log_p.sum() / len(rows) if len(rows) else np.nan
    # --- end
