"""Gradient clipping: limit the length of the whole gradient.

    norm = sqrt(the sum of the squares of all numbers of all gradients)
    scale = min(1, max_norm / (norm + 1e-6))

One unusual batch can give a huge gradient, and one huge step can undo hours of training. The
gradients of all parameters count as one long vector. If it is longer than max_norm, all of them are
multiplied by the same number, so that the vector keeps its direction. A shorter one stays as it is.
The 1e-6 avoids a division by 0. A parameter that was not used has no gradient: it is None.
"""

import numpy as np


def clip(
    gradients: list[np.ndarray | None], max_norm: float
) -> tuple[list[np.ndarray | None], float]:
    """Return a list with the clipped gradients, and the norm before clipping.

    None stays None, and the arrays given are not changed.
    """
    # TODO: one norm over all gradients, one scale, and a new list.
    # --- solution
    norm = float(np.sqrt(sum((g * g).sum() for g in gradients if g is not None)))
    scale = min(1.0, max_norm / (norm + 1e-6))
    return [None if g is None else g * scale for g in gradients], norm
    # --- end
