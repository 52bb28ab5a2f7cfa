"""Calls with all combinations of options equal those of transformers, but for listed deviations."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests.tokenizers.fuzz import Call, calls, judge

CLASSES = pytest.mark.parametrize("fast", [False, True], ids=["slow", "fast"])


def fuzz(fast: bool, count: int, number: int) -> Counter[str]:
    """The verdicts on `count` random calls."""
    verdicts: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(calls(fast))
    def run(call: Call) -> None:
        verdicts[judge(call, fast)] += 1

    run()
    assert verdicts.total() >= count
    assert verdicts["equal"] > 0.4 * count, verdicts
    return verdicts


@CLASSES
def test_calls(fast, capfd):
    verdicts = fuzz(fast, 400, 0)
    assert len(verdicts) >= 4, verdicts
    capfd.readouterr()  # what Rust says of its panics


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 11))
@CLASSES
def test_many_calls(fast, number, capfd):
    verdicts = fuzz(fast, 2500, number)
    capfd.readouterr()
    with capfd.disabled():
        print(f"\n{'fast' if fast else 'slow'} {number}: {dict(verdicts)}")
