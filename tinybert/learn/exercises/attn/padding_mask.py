"""The padding mask: from ones and zeros to numbers that are added to the scores.

    mask (B, T), 1 for a token, 0 for padding  ->  (B, 1, 1, T), 0 for a token, lowest for padding

lowest is the smallest finite number of the dtype, np.finfo(dtype).min, about -3.4e38 in float32.
Softmax turns a score plus lowest into a weight of exactly 0. The scores have the shape (B, H, Tq,
Tk), queries before keys: padding is hidden as a key, from all heads and for all queries.

Not -infinity: in a row where every key is hidden, softmax would compute -inf - (-inf), which is not
a number.
"""

import numpy as np


def padding_mask(mask: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """Return the numbers to add to the scores, (B, 1, 1, T), with the dtype given.

    mask (B, T) holds integers or floats, 1 for a token and 0 for padding.
    """
    # TODO: 0 where mask is 1, lowest where it is 0; then add the two axes.
    # --- solution
    added = np.where(mask == 1, 0, np.finfo(dtype).min)
    return added.astype(dtype)[:, None, None, :]
    # --- end
