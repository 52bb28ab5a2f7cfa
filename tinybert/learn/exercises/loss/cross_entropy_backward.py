"""Backward of cross-entropy: prediction minus target.

    loss = -mean of log p[n, label_n]        p = softmax(scores)

Softmax and logarithm together have a gradient that is simpler than those of its parts: in a row
with label c, -log p_c has the derivative p_j by the score s_j, and for j = c one less: prediction
minus target, which is 1 at the label and 0 elsewhere. The gradient of a row adds up to 0.

Forward has kept p (N, C). labels (N,) are class numbers or -100; a row with -100 was ignored: it
was neither in the sum nor in the number of terms, so its scores do not influence the loss.
"""

import numpy as np


def cross_entropy_backward(dy: float, p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return dL/dscores (N, C), for dy = dL/dloss. At least one row counts. p is not changed."""
    # TODO: p minus the target, rows that were ignored, the mean, and the chain rule.
    # --- solution
    counts = labels != -100
    target = labels[:, None] == np.arange(p.shape[1])
    return dy * (p - target) * counts[:, None] / counts.sum()
    # --- end
