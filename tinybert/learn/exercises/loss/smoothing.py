"""Label smoothing: do not ask for certainty.

Cross-entropy is 0 only if p of the label is 1, so training pushes the scores apart without end.
Label smoothing takes a share s of the target away from the label and gives every class, the label
too, an equal part of it:

    target_nc = (1 - s) [c is label_n] + s / C
    loss = mean over n of -(sum over c of target_nc log p_nc)

    scores (N, C)    labels (N,), class numbers or -100 for a row to ignore

The targets of a row add up to 1. s = 0 is the plain cross-entropy.
"""

import numpy as np


def log_softmax(x: np.ndarray) -> np.ndarray:
    """Return log p for scores (N, C)."""
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def smoothed_cross_entropy(scores: np.ndarray, labels: np.ndarray, s: float = 0.1) -> float:
    """Return the mean loss over the rows whose label is not -100; there is at least one."""
    # TODO: the targets, the loss of each row, and the mean over the rows that count.
    # --- solution
    counts = labels != -100
    is_label = labels[:, None] == np.arange(scores.shape[1])
    target = (1 - s) * is_label + s / scores.shape[1]
    losses = -(target * log_softmax(scores)).sum(axis=-1)
    return losses[counts].sum() / counts.sum()
    # --- end
