"""Bounds for tests of random numbers: how unlikely a result is under the right distribution.

Every function returns an upper bound of a probability, valid for every sample size: no normal
approximation, no table. A test of a right distribution fails with a probability of at most ALARM,
whatever the seed; one that makes several comparisons divides ALARM by their number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ALARM = 1e-6


def counts_bound(counts: Any, shares: Any = None) -> float:
    """Bound the probability of counts (K,) this far from their expected shares (equal by default).

    For the divergence x (see below), if it is above K - 1, P <= exp(-x) (e x / (K - 1))^(K - 1)
    (Agrawal 2020, "Finite-sample concentration of the multinomial in relative entropy", IEEE Trans.
    Inf. Theory 66, theorem I.2).
    """
    counts = np.asarray(counts, float)
    x, freedom = _divergence(counts, 1 / counts.size if shares is None else np.asarray(shares))
    return 1.0 if x <= freedom else math.exp(freedom * math.log(math.e * x / freedom) - x)


def share_bound(count: int, total: int, share: float) -> float:
    """Bound the probability of a count of a binomial distribution this far from its mean.

    P <= exp(-x) on each side (Chernoff 1952).
    """
    counts = np.array([count, total - count], float)
    return min(1.0, 2 * math.exp(-_divergence(counts, np.array([share, 1 - share]))[0]))


def _divergence(counts: np.ndarray, shares: Any) -> tuple[float, int]:
    """Return x = n KL(counts / n, shares), with n = the sum of the counts; and K - 1."""
    ratio = counts / (counts.sum() * shares)
    return float((counts * np.log(np.where(counts > 0, ratio, 1.0))).sum()), counts.size - 1


def cdf_bound(values: np.ndarray) -> float:
    """Bound the probability of n uniform values, from 0 to 1, this far from uniform.

    Values of another distribution become uniform by its distribution function.
    P <= 2 exp(-2 n d^2) for the largest distance d of the distribution functions (Massart 1990,
    "The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality", Ann. Probab. 18).
    """
    values = np.sort(np.asarray(values).ravel())
    n = values.size
    steps = np.arange(n + 1) / n
    distance = max((steps[1:] - values).max(), (values - steps[:-1]).max())
    return min(1.0, 2 * math.exp(-2 * n * distance**2))


def two_sample_bound(a: np.ndarray, b: np.ndarray) -> float:
    """Bound the probability that two samples of n values of one distribution differ this much.

    P <= e exp(-n d^2) for the largest distance d of their distribution functions (Wei and Dudley
    2012, "Two-sample Dvoretzky-Kiefer-Wolfowitz inequalities", Stat. Probab. Lett. 82, theorem 1).
    """
    a, b = np.sort(np.ravel(a)), np.sort(np.ravel(b))
    both = np.concatenate([a, b])
    below = [np.searchsorted(x, both, "right") for x in (a, b)]
    distance = np.abs(below[0] - below[1]).max() / a.size
    return min(1.0, math.e * math.exp(-a.size * distance**2))
