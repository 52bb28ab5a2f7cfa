"""Heads: split the features, work on each head separately, and merge the results.

    x (B, T, D)  ->  (B, H, T, K)  ->  function  ->  (B, H, T, K)  ->  y (B, T, D)

B batch, T tokens, D features, H heads, K = D / H features of a head. Head h owns the features h * K
to h * K + K - 1 of every token. Matrix products work on the last two axes, so the heads have to be
an axis before T and K. Afterwards the features return to where they came from.

`reshape` keeps the order of the numbers in memory and only cuts them in another way; `swapaxes` (or
`transpose`) changes the order. A reshape from (B, T, D) to (B, H, T, K) raises no error, but it
mixes tokens with features.
"""

from collections.abc import Callable

import numpy as np


def in_heads(x: np.ndarray, heads: int, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Call function once, with x (B, T, D) as heads (B, H, T, K); return its result as (B, T, D).

    The result of function has the shape of its argument.
    """
    # TODO: split x into heads, call function, and merge what it returns.
    # --- solution
    batch, length, width = x.shape
    split = x.reshape(batch, length, heads, width // heads).swapaxes(1, 2)
    y = function(split)
    return y.swapaxes(1, 2).reshape(batch, length, width)
    # --- end
