"""Every hostile input is read, or refused by name, in bounded time and memory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="limits of processes are of POSIX systems")

# The groups, and into how many runs each is split.
SHARES = {
    "json files": 5, "json fields": 2, "headers": 1, "references": 1, "auto": 1, "special files": 1,
    "shards": 1, "text files": 1, "reports": 1, "pickles": 1, "messages": 1, "trees": 1,
    "tables": 1, "nemo": 1, "texts": 3, "parts": 2, "templates": 2,
}  # fmt: skip
RUNS = [(group, f"{i}/{count}") for group, count in SHARES.items() for i in range(count)]


def run(*arguments: str) -> list[tuple[int, str, list[str]]]:
    """Return (attacks in the group, name, faults) of each attack."""
    command = [sys.executable, "-m", "tests.attacks.harness", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return [tuple(json.loads(line)) for line in ran.stdout.splitlines()]


def faulty(results: list[tuple[int, str, list[str]]]) -> dict[str, list[str]]:
    return {name: found for _, name, found in results if found}


def test_a_sample() -> None:
    results = run("--sample", "2")
    assert len(results) > len(SHARES)
    assert not faulty(results)


@pytest.mark.slow
@pytest.mark.parametrize(("group", "share"), RUNS)
def test_attacks(group: str, share: str) -> None:
    results = run(group, "--share", share)
    assert results
    assert not faulty(results)


@pytest.mark.slow
def test_there_are_enough_attacks() -> None:
    from tests.attacks.groups import GROUPS

    assert list(GROUPS) == list(SHARES)
    attacks = [attack.name for group in GROUPS.values() for attack in group()]
    assert len(attacks) >= 700
    assert len(set(attacks)) == len(attacks)


def test_the_harness_finds_what_grows(tmp_path) -> None:
    """Quadratic time and memory, an endless loop of one size, an unnamed error, a crash."""
    import os

    from tests.attacks.harness import STEPS, Attack, faults

    def attack(read, size: int = 0, **bounds) -> list[str]:
        return faults(Attack("a", lambda n, folder: lambda: read(n), size, **bounds), STEPS)

    assert not attack(lambda n: [0] * n, 1000)
    slow = attack(lambda n: sum(1 for _ in range(n * n)), 1500)
    assert any("seconds grow" in fault for fault in slow)
    assert any("memory grows" in fault for fault in attack(lambda n: bytearray(n * n), 2500))
    assert "bound 0.05" in attack(lambda n: sum(range(10**7)), seconds=0.05)[0]
    assert "KeyError" in attack(lambda n: {}[n])[0]
    assert "RecursionError" in attack(lambda n: repr_of_deep(), named="x")[0]
    assert "killed" in attack(lambda n: os._exit(3))[0]

    def error(n: int) -> None:
        raise ValueError("a file is bad")

    assert "a file is bad" in attack(error, named="vocab.txt")[0]
    assert not attack(error, named="a file")


def repr_of_deep() -> str:
    value: list = []
    for _ in range(100_000):
        value = [value]
    return repr(value)
