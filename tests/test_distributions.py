"""The bounds of `distributions.py` cover the exact probability and find wrong distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests import distributions


@pytest.mark.parametrize(("total", "share"), [(40, 0.5), (300, 0.1)])
def test_the_bound_of_a_share_covers_the_exact_probability(total: int, share: float) -> None:
    logs = [
        math.lgamma(total + 1)
        - math.lgamma(k + 1)
        - math.lgamma(total - k + 1)
        + k * math.log(share)
        + (total - k) * math.log1p(-share)
        for k in range(total + 1)
    ]
    exact = np.exp(logs)
    bounds = np.array([distributions.share_bound(k, total, share) for k in range(total + 1)])
    for bound in (1e-3, 1e-6):
        found = exact[bounds <= bound].sum()
        assert bound / 30 < found <= bound


def test_right_distributions_pass_and_wrong_ones_do_not() -> None:
    """The wrong ones are at least eight standard deviations beyond the bound."""
    rng = np.random.default_rng()
    counts = rng.multinomial(20_000, np.full(50, 0.02))
    assert distributions.counts_bound(counts) > distributions.ALARM
    counts[7] += 800
    assert distributions.counts_bound(counts) < distributions.ALARM
    values = rng.random(20_000)
    assert distributions.cdf_bound(values) > distributions.ALARM
    assert distributions.cdf_bound(values**1.3) < distributions.ALARM
    a, b = rng.standard_normal((2, 20_000))
    assert distributions.two_sample_bound(a, b) > distributions.ALARM
    assert distributions.two_sample_bound(a, 1.6 * b) < distributions.ALARM
    assert distributions.two_sample_bound(a, b + 0.2) < distributions.ALARM
