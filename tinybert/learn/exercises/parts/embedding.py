"""Embedding, backward: add the gradient of every token to the row of its id.

    y[t] = weight[ids[t]]          dweight[v] = the sum of dy[t] over all t with ids[t] = v

Forward looks up a row of the table (V, D) for every id. Backward goes the other way, which is
called scatter-add: an id that occurs three times collects three gradients, an id that does not
occur gets zeros. Two things to know:

- `array[indices] += values` reads all rows, adds, and writes all rows: of several additions to one
  row only the last remains. NumPy has a function that adds them all; look for `at` in its manual.
- The row of the padding token is not trained: the row `padding_idx` of dweight is 0. In BERT it is
  row 0. If padding_idx is None, all rows are trained.
"""

import numpy as np


def embedding_backward(
    dy: np.ndarray, ids: np.ndarray, count: int, padding_idx: int | None = None
) -> np.ndarray:
    """Return dweight (V, D), with the dtype of dy.

    Args:
        dy: dL/dy, (..., D).
        ids: (...), integers from 0 to V - 1.
        count: V, the number of rows of the table.
        padding_idx: the row that is not trained, or None.
    """
    # TODO: start with zeros, add each dy to its row, then clear the row of the padding.
    # --- solution
    dweight = np.zeros((count, dy.shape[-1]), dy.dtype)
    np.add.at(dweight, ids, dy)
    if padding_idx is not None:
        dweight[padding_idx] = 0
    return dweight
    # --- end
