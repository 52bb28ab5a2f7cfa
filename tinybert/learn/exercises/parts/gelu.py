"""GELU: multiply x by the probability that a normal random number is below x.

    y = x * Phi(x)          dy/dx = Phi(x) + x * phi(x)

Phi is the distribution function of the normal distribution. Its derivative is the density

    phi(x) = exp(-x^2 / 2) / sqrt(2 pi)

For large x, Phi(x) is 1 and y is x; for very negative x, both are 0. Unlike ReLU, the function has
no corner at 0. The slope is computed together with y, because backward then needs no x: it
multiplies the gradient dy by the slope. BERT's feed-forward layers use this function.
"""

import math

import numpy as np

from tinybert.ops.erf import erf_forward


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """Return Phi(x) for every element of x."""
    return (1 + erf_forward(x / math.sqrt(2))) / 2


def gelu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return y and its slope dy/dx, each with the shape of x."""
    # TODO: compute Phi(x) and phi(x), then y and the slope from them.
    # --- solution
    cdf = normal_cdf(x)
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return x * cdf, cdf + x * density
    # --- end
