"""Time several implementations in alternation, for a fair comparison on a busy machine.

The implementations alternate (ours, theirs, ours, theirs, ...), and the ratio is computed within
each round, because load on the machine slows all of them down. The threads of a BLAS keep spinning
for up to 0.1 s after their work, on cores that the next implementation needs: without a pause,
torch took twice its time. So each run begins with a pause and an untimed run.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

PAUSE = 0.1  # seconds, until idle threads sleep
WARM_UP_ROUNDS = 1
ROUNDS = 7
NOISY = 1.5  # slowest / fastest round; above, the machine was busy


Work = Callable[[Any], Any]


@dataclass(frozen=True)
class Prepared:
    """The implementations of a case, ready to run.

    Attributes:
        ours: runs our implementation once on an input; results are copied from a GPU.
        others: the other implementations, by name.
        differences: by the same names, the difference of their result from ours.
        fresh: creates a new input, for work that caches its inputs.
        note: other measurements.
        tokens: the number of tokens of a run; 0 if it is of no interest.
        on_request: implementations that are only built when they are asked for, by library: each
            call returns the work and the difference of its result.
    """

    ours: Work
    others: dict[str, Work]
    differences: dict[str, float]
    fresh: Callable[[], Any] = lambda: None
    note: str = ""
    tokens: int = 0
    on_request: dict[str, Callable[[], tuple[Work, float]]] = field(default_factory=dict)


class CannotRun(Exception):
    """This machine, or the comparison that was asked for, does not allow a case; says why."""


@dataclass(frozen=True)
class Case:
    """One benchmark.

    Attributes:
        suite: the group of cases it belongs to.
        name: the name for `--only`.
        summary: one line on what is measured.
        prepare: builds all implementations on a device and compares their results.
        tolerance: the largest difference at which results agree.
        measures: "seconds", or "bytes": then a work returns its figure instead of being timed.
    """

    suite: str
    name: str
    summary: str
    prepare: Callable[[str], Prepared]
    tolerance: float
    measures: str = "seconds"


@dataclass(frozen=True)
class Result:
    """The result of one case against one other implementation.

    Attributes:
        agrees: whether the difference is within the tolerance; if not, nothing was measured.
        ours, others: a figure for each round, in seconds or bytes.
    """

    case: str
    other: str
    difference: float
    agrees: bool
    ours: list[float]
    others: list[float]
    note: str = ""
    tokens: int = 0
    measures: str = "seconds"

    @property
    def noisy(self) -> bool:
        """Whether the figures vary too much to be reliable."""
        return any(max(t) > NOISY * min(t) for t in (self.ours, self.others) if t)

    @property
    def ratio(self) -> float:
        """The median over the rounds of our figure / theirs; below 1 tinybert needs less."""
        pairs = zip(self.ours, self.others, strict=True)
        return statistics.median(mine / other for mine, other in pairs)

    @property
    def tokens_per_second(self) -> dict[str, float]:
        """The medians of both sides; nothing for a case that does not count tokens."""
        if not (self.tokens and self.agrees):
            return {}
        sides = {"ours": self.ours, "theirs": self.others}
        return {side: self.tokens / statistics.median(times) for side, times in sides.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return medians, extremes and all times, for JSON."""
        result: dict[str, Any] = {
            "case": self.case,
            "other": self.other,
            "difference": self.difference,
            "agrees": self.agrees,
        }
        if self.note:
            result["note"] = self.note
        if self.agrees:
            key = "times" if self.measures == "seconds" else self.measures
            result |= {"ours": spread(self.ours, key), "theirs": spread(self.others, key)}
            result |= {"ratio": self.ratio, "noisy": self.noisy}
        if self.tokens_per_second:
            result["tokens_per_second"] = self.tokens_per_second
        return result


def spread(figures: list[float], key: str = "times") -> dict[str, Any]:
    """Return median, minimum, maximum, and under `key` all figures."""
    median = statistics.median(figures)
    return {"median": median, "min": min(figures), "max": max(figures), key: figures}


def run_case(
    case: Case, device: str = "cpu", runs: int = ROUNDS, against: Collection[str] = ()
) -> list[Result]:
    """Prepare, compare and measure one case; return one Result for each other implementation.

    Args:
        against: the libraries to compare with; all that are not `on_request` if it is empty.

    Raises ImportError, FetchError, DeviceError or CannotRun if the case cannot run.
    """
    prepared = case.prepare(device)
    others, differences = _compared_with(prepared, against)
    agrees = all(difference <= case.tolerance for difference in differences.values())
    sides = {"": prepared.ours, **others}
    figures: dict[str, list[float]] = {name: [] for name in sides}
    if agrees and case.measures == "seconds":
        figures = interleave(sides, runs, prepared.fresh)
    elif agrees:
        for _ in range(runs):
            for name, work in sides.items():
                figures[name].append(work(prepared.fresh()))
    return [
        Result(
            case.name,
            name,
            difference,
            agrees,
            figures[""],
            figures[name],
            prepared.note,
            prepared.tokens,
            case.measures,
        )
        for name, difference in differences.items()
    ]


def _compared_with(
    prepared: Prepared, against: Collection[str]
) -> tuple[dict[str, Work], dict[str, float]]:
    """Return the other implementations that are of the libraries `against`, and differences."""
    names = [n for n in prepared.others if not against or n.partition(",")[0] in against]
    others = {name: prepared.others[name] for name in names}
    differences = {name: prepared.differences[name] for name in names}
    for library, build in prepared.on_request.items():
        if library in against:
            others[library], differences[library] = build()
    if not others:
        possible = {n.partition(",")[0] for n in prepared.others} | {*prepared.on_request}
        raise CannotRun(f"compares only with {', '.join(sorted(possible))}")
    return others, differences


def interleave(
    sides: dict[str, Work], runs: int, fresh: Callable[[], Any], pause: float = PAUSE
) -> dict[str, list[float]]:
    """Return the seconds of every timed run, by name; in a round all have the same inputs."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(-WARM_UP_ROUNDS, runs):
        warm_up, timed = fresh(), fresh()
        for name, work in sides.items():
            gc.collect()  # the garbage of one must not slow down the next
            time.sleep(pause)
            work(warm_up)
            start = time.perf_counter()
            work(timed)
            elapsed = time.perf_counter() - start
            if number >= 0:
                times[name].append(elapsed)
    return times


def median_seconds(work: Callable[[], Any], runs: int) -> float:
    """Return the median time of several runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_megabytes(work: Callable[[], Any]) -> float:
    """Return the peak memory of NumPy arrays during a run, beyond what was allocated before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
