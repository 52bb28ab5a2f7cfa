"""The backward pass of a layer that is split between ranks.

    z_r = x @ first_r.T,    y = sum over r of relu(z_r) @ second_r.T

    x (B, D)    first_r (F/p, D)    second_r (D, F/p)    y, dy (B, D)

Rank r has the neurons of first_r and second_r, its parts of two matrices. All ranks have x and dy.
Between them the ranks exchange one array: at the place of f the gradients of x are summed. Here all
ranks are in one function: a list has an entry for each rank, and the sum over ranks is `sum`.
"""

import numpy as np


def split_backward(
    dy: np.ndarray, x: np.ndarray, first: list[np.ndarray], second: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Return dx (B, D), and the gradients of first and of second: a list with one for each rank."""
    # TODO: each rank's gradients from its own matrices; only dx is summed over the ranks.
    # --- solution
    neurons = [x @ part.T for part in first]
    dz = [(dy @ part) * (z > 0) for part, z in zip(second, neurons, strict=True)]
    dfirst = [d.T @ x for d in dz]
    dsecond = [dy.T @ np.maximum(z, 0) for z in neurons]
    dx = sum(d @ part for d, part in zip(dz, first, strict=True))
    return dx, dfirst, dsecond
    # --- end
