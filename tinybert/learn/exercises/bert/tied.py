"""Tied embeddings: one table, used twice, has one gradient.

    x      = table[ids]             the word embeddings, at the beginning
    scores = states @ table^T       the scores of all V tokens, at the end

A masked language model uses the same table (V, D) for both. Its gradient is the sum of two:

- as input embeddings: the row of an id that occurs n times gets the sum of n gradients dx, and the
  row of an id that does not occur gets none. Positions of padding (`pad_id`) do not count.
- as output weights: scores = states @ table^T is a linear map without bias, and every row gets a
  gradient.
"""

import numpy as np


def tied_gradient(
    ids: np.ndarray, dx: np.ndarray, states: np.ndarray, dscores: np.ndarray, pad_id: int
) -> np.ndarray:
    """Return the gradient (V, D) of the table.

    Args:
        ids: (B, T) integers.
        dx: (B, T, D), the gradient of x.
        states: (B, T, D), the features before the scores.
        dscores: (B, T, V), the gradient of the scores.
    """
    # TODO: the gradient of the output weights, a product; then add that of the input embeddings.
    # --- solution
    vocab, width = dscores.shape[-1], states.shape[-1]
    dtable = dscores.reshape(-1, vocab).T @ states.reshape(-1, width)
    real = ids != pad_id
    np.add.at(dtable, ids[real], dx[real])
    return dtable
    # --- end
