"""How two programs are timed side by side, so that a busy machine is unfair to neither.

They take turns (ours, theirs, ours, theirs ...), and the ratio is taken within each round: what
slows a round down slows both. Turns do not touch: the threads of a BLAS go on spinning for up to a
tenth of a second after their work, on cores that the next program needs; back to back, torch was
seen to take twice its time. So each turn begins with a pause and a run that does not count.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PAUSE = 0.1  # seconds, until idle threads have gone to sleep
WARM_UP_ROUNDS = 1
ROUNDS = 7
NOISY = 1.5  # slowest by fastest round: beyond, the machine was busy with something else


Work = Callable[[Any], Any]


@dataclass(frozen=True)
class Prepared:
    """The sides of a case, ready to run.

    Attributes:
        ours: does the work once, to its very end (results of a GPU are fetched), on an input.
        others: the same by others, by name.
        differences: by the same names, how far their result is from ours.
        fresh: makes an input, for work that must not meet the same one twice (caches).
        note: what else was measured on the way.
    """

    ours: Work
    others: dict[str, Work]
    differences: dict[str, float]
    fresh: Callable[[], Any] = lambda: None
    note: str = ""


@dataclass(frozen=True)
class Case:
    """One line of the table of benchmarks.

    Attributes:
        name, summary: what `--only` takes, and what is measured, in a line.
        prepare: builds both sides on a device and compares their results.
        tolerance: the largest difference at which the work counts as the same.
    """

    name: str
    summary: str
    prepare: Callable[[str], Prepared]
    tolerance: float


@dataclass(frozen=True)
class Result:
    """What one case gave against one other side; times in seconds, one a round.

    Attributes:
        agrees: whether the difference is within the tolerance; if not, nothing was timed.
    """

    case: str
    other: str
    difference: float
    agrees: bool
    ours: list[float]
    others: list[float]
    note: str = ""

    @property
    def noisy(self) -> bool:
        """Whether the times of either side vary so much that they say little."""
        return any(max(t) > NOISY * min(t) for t in (self.ours, self.others) if t)

    @property
    def ratio(self) -> float:
        """The median over the rounds of our time divided by the other's: below 1 we are faster."""
        pairs = zip(self.ours, self.others, strict=True)
        return statistics.median(mine / other for mine, other in pairs)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: medians, extremes and all times."""
        result: dict[str, Any] = {
            "case": self.case,
            "other": self.other,
            "difference": self.difference,
            "agrees": self.agrees,
        }
        if self.note:
            result["note"] = self.note
        if self.agrees:
            result |= {"ours": spread(self.ours), "theirs": spread(self.others)}
            result |= {"ratio": self.ratio, "noisy": self.noisy}
        return result


def spread(times: list[float]) -> dict[str, Any]:
    """Median, minimum, maximum, and the times themselves."""
    median = statistics.median(times)
    return {"median": median, "min": min(times), "max": max(times), "times": times}


def run_case(case: Case, device: str = "cpu", runs: int = ROUNDS) -> list[Result]:
    """Prepare, compare and time one case; one Result for each other side.

    Raises what the case raises where it cannot run: ImportError, FetchError, DeviceError.
    """
    prepared = case.prepare(device)
    agrees = all(difference <= case.tolerance for difference in prepared.differences.values())
    sides = {"": prepared.ours, **prepared.others}
    times: dict[str, list[float]] = {name: [] for name in sides}
    if agrees:
        times = interleave(sides, runs, prepared.fresh)
    return [
        Result(case.name, name, difference, agrees, times[""], times[name], prepared.note)
        for name, difference in prepared.differences.items()
    ]


def interleave(
    sides: dict[str, Work], runs: int, fresh: Callable[[], Any], pause: float = PAUSE
) -> dict[str, list[float]]:
    """Seconds of every run that counts, by side; in a round all sides have the same input."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(-WARM_UP_ROUNDS, runs):
        uncounted, counted = fresh(), fresh()
        for name, work in sides.items():
            gc.collect()  # so that nobody pays for another's litter
            time.sleep(pause)
            work(uncounted)
            start = time.perf_counter()
            work(counted)
            elapsed = time.perf_counter() - start
            if number >= 0:
                times[name].append(elapsed)
    return times
