"""The bytes that the planner predicts are those that the ranks exchange."""

from __future__ import annotations

from typing import Any

import pytest

from tinybert.parallel.communicator import bytes_sent
from tinybert.parallel.plan.job import Job
from tinybert.parallel.plan.runs import Runner
from tinybert.parallel.plan.shapes import Shape
from tinybert.parallel.plan.traffic import step_messages
from tinybert.parallel.simulated import run

SHAPE = Shape("megatron-bert", 4, 24, 4, 32, 8)


def sent(job: Job) -> list[dict[str, float]]:
    """The bytes of float32 arrays that each rank sends in one step, by group."""

    def measure(world: Any) -> dict[str, float]:
        runner = Runner(SHAPE, job, world)
        groups = {name: getattr(runner.grid, name) for name in ("tensor", "pipeline", "data")}
        if runner.grid.ends is not None:
            groups["ends"] = runner.grid.ends
        for group in groups.values():
            group.traffic.clear()
        runner()
        return {
            name: sum(bytes_sent(kind, t.bytes, group.size) for kind, t in group.traffic.items())
            for name, group in groups.items()
        } | {"place": runner.grid.place}  # type: ignore[dict-item]

    return run(job.ranks, measure)


@pytest.mark.parametrize(
    ("t", "p", "d"), [(2, 1, 1), (4, 1, 1), (1, 1, 2), (1, 2, 1), (2, 2, 1), (1, 2, 2), (1, 4, 1)]
)
def test_bytes_of_a_step(t: int, p: int, d: int) -> None:
    """Within the few numbers of a row or of a parameter: losses, maxima, norms."""
    job = Job(t, p, d, batch=4 * d, micro=2, precision="float32")
    plan = {
        kind: [m.sent for m in messages] for kind, messages in step_messages(SHAPE, job).items()
    }
    found = sent(job)
    for kind in ("tensor", "data"):
        most = max(rank[kind] for rank in found)
        print(kind, most, sum(plan[kind]))
    print("pipeline", [r["pipeline"] for r in found], plan["pipeline"], [r.get("ends") for r in found])
    assert False
