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


def sent(job: Job) -> list[dict[str, Any]]:
    """The bytes that each rank sends in one step, by group, and the number of its stage."""

    def measure(world: Any) -> dict[str, Any]:
        runner = Runner(SHAPE, job, world)
        grid = runner.grid
        groups = {"tensor": grid.tensor, "pipeline": grid.pipeline, "data": grid.data}
        if grid.ends is not None:
            groups["ends"] = grid.ends
        for group in groups.values():
            group.traffic.clear()
        runner()
        return {"stage": grid.pipeline.rank} | {
            name: sum(bytes_sent(kind, t.bytes, group.size) for kind, t in group.traffic.items())
            for name, group in groups.items()
        }

    return run(job.ranks, measure)


@pytest.mark.parametrize(
    ("t", "p", "d"), [(2, 1, 1), (4, 1, 1), (1, 1, 2), (1, 2, 1), (2, 2, 1), (1, 2, 2), (1, 4, 1)]
)
@pytest.mark.parametrize("zero", [False, True])
def test_bytes_of_a_step(t: int, p: int, d: int, zero: bool) -> None:
    """All bytes but the few numbers for the loss and for the norm of the gradients."""
    job = Job(t, p, d, batch=4 * d, micro=2, precision="float32", zero=zero)
    plan = step_messages(SHAPE, job)
    tensor, data = (sum(m.sent for m in plan[kind]) for kind in ("tensor", "data"))
    sends, tied = (m.sent for m in plan["pipeline"])
    found = sent(job)
    few = 80  # bytes: some numbers of 8
    fullest = max(rank["data"] for rank in found)
    assert data <= fullest <= data + few + (4 * 2 * d if zero else 0)  # ZeRO pads to d parts
    for rank in found:
        if rank["stage"] == p - 1:
            assert tensor <= rank["tensor"] <= tensor + few * (t > 1)
        neighbours = (rank["stage"] > 0) + (rank["stage"] < p - 1)
        expected = sends * neighbours / 2
        assert expected <= rank["pipeline"] <= expected + few
        if "ends" in rank:
            assert rank["ends"] == tied
