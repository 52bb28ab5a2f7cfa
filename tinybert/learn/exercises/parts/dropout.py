"""Dropout: set random elements to 0 in training, and nothing afterwards.

    y = x * keep / (1 - p)          keep is 0 with probability p, and 1 otherwise

A model that cannot rely on a single element learns several reasons for an answer. The division
makes up for the missing elements: the expected value of y is x, so the model can be used later
without dropout, unchanged. Backward is the same product, since y depends on x by a constant factor;
the factor of an element has to be the same in both directions.
"""

import numpy as np


def dropout(
    x: np.ndarray, dy: np.ndarray, p: float, training: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return y, and dx for the gradient dy of y; both have the shape and dtype of x.

    Args:
        x, dy: arrays of one shape.
        p: the probability of a 0, from 0 to less than 1.
        training: if false, y is x and dx is dy.
        rng: call rng.random(x.shape) once, in training. An element is kept where the random number
            is at least p.
    """
    # TODO: make one mask, and use it for y and for dx.
    # --- solution
    if not training:
        return x, dy
    keep = rng.random(x.shape) >= p
    return x * keep / (1 - p), dy * keep / (1 - p)
    # --- end
