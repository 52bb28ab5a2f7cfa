"""Do the tests see a fault? Realistic faults are planted into a copy, one at a time (mutant.py).

`python -m tests.mutants` prints which are caught.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.mutants.mutant import ROOT, read_mutants
from tests.mutants.run import run_mutants

LEAST = 0.97  # share of the mutants that are caught
PARTS = {
    "autograd", "backend", "cli", "comparison", "embedding.py", "fetch.py", "formats", "generation",
    "hub_cache.py", "models", "nn", "ops", "optim", "pipelines", "text", "tokenizer_json",
    "tokenizers", "weights",
}  # fmt: skip


def test_every_mutant_fits_the_source() -> None:
    mutants = read_mutants()
    places = Counter((mutant.file, mutant.line()) for mutant in mutants)
    assert [place for place, count in places.items() if count > 1] == []
    for mutant in mutants:
        compile(mutant.mutated(), mutant.file, "exec")
        assert mutant.mutated() != mutant.source()
        for node in mutant.nodes:
            assert (ROOT / node).is_file()


def test_the_mutants_are_spread_over_the_package() -> None:
    mutants = read_mutants()
    assert len(mutants) >= 160
    assert {mutant.file.partition("/")[0] for mutant in mutants} >= PARTS


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the tests run in forks of one process")
def test_nearly_all_mutants_are_caught() -> None:
    outcomes = run_mutants(read_mutants())
    survivors = [f"{o.mutant.file}: {o.mutant.fault}" for o in outcomes if not o.caught]
    assert len(survivors) <= (1 - LEAST) * len(outcomes), "\n".join(["survivors:", *survivors])
