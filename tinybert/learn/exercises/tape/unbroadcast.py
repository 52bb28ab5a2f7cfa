"""Unbroadcast: the gradient of an array that NumPy has repeated.

In x + bias, with x (2, 3, 5) and bias (3, 1), NumPy repeats the bias: each of its 3 numbers takes
part in 2 * 5 sums. The gradient of such a number is the sum over all places where it was used.

    gradient (2, 3, 5)   ->   sum over the axes 0 and 2   ->   (3, 1)

NumPy broadcasts in two ways, and both can happen at once:

- it adds axes in front, until both arrays have equally many: (3, 1) becomes (1, 3, 1);
- it repeats axes of length 1: (1, 3, 1) becomes (2, 3, 5).

A shape of () is a single number, used everywhere.
"""

import numpy as np


def unbroadcast(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return `gradient` summed to `shape`, a shape that broadcasts to the one of `gradient`.

    `gradient` itself is not changed: other operations may need it.
    """
    # TODO: sum over the added axes, then over the axes that have length 1 in `shape`.
    # --- solution
    added = gradient.ndim - len(shape)
    total = gradient.sum(axis=tuple(range(added)))
    repeated = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return total.sum(axis=repeated, keepdims=True)
    # --- end
