"""Tied embeddings: one table, used twice, has one gradient.

    x      = table[ids]             the word embeddings, at the beginning
    scores = states @ table^T       the scores of all V words, at the end

A masked language model uses the same table (V, D) for both. Its gradient is the sum of two:

- from the beginning, row by row: an id that occurs n times gets n gradients dx, and a word that
  does not occur gets none. Padding is not trained here: positions with `pad_id` do not count.
- from the end, for every word: scores = states @ table^T is a linear map without bias.
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
    # TODO: the part from the end, a product; then add the part from the beginning to its rows.
    # --- solution
    vocab, width = dscores.shape[-1], states.shape[-1]
    dtable = dscores.reshape(-1, vocab).T @ states.reshape(-1, width)
    real = ids != pad_id
    np.add.at(dtable, ids[real], dx[real])
    return dtable
    # --- end
