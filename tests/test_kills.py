"""Killed saves leave the old or the new state; see `tests/kills.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


def kills(count: int, seed: int) -> dict[str, int]:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.kills", str(count), str(seed)],
        capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[1], check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_some_kills() -> None:
    assert kills(8, 0)["kills"] == 8


@pytest.mark.slow
def test_many_kills() -> None:
    left = kills(210, 1)
    assert left["kills"] == 210
    assert min(left["old"], left["new"]) >= 20, "the kills came too early or too late"
