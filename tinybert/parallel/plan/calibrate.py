"""Measure the constants of this machine: matrix products, other operations, messages.

All ranks measure at the same time, as they would compute: ranks that share cores are slower.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from tinybert.parallel.communicator import Communicator
from tinybert.parallel.grid import alone
from tinybert.parallel.plan.job import Job
from tinybert.parallel.plan.machines import Machine
from tinybert.parallel.plan.memory import rank_parameters
from tinybert.parallel.plan.prediction import predict
from tinybert.parallel.plan.runs import MeasuredRun, Runner
from tinybert.parallel.plan.shapes import Shape
from tinybert.parallel.plan.work import layer_traffic, optimizer_traffic, step_flops

# The steps on each rank alone from which `memory` and `overhead` are computed: sequences, and
# shapes that differ from `MEASURED`.
STEPS = (
    (1, Shape("megatron-bert", 2, 64, 4, 256, 32)),
    (2, Shape("megatron-bert", 3, 96, 4, 512, 64)),
    (8, Shape("megatron-bert", 2, 160, 4, 512, 64)),
    (16, Shape("megatron-bert", 2, 64, 4, 256, 32)),
)
MESSAGES = tuple(4**k for k in range(5, 12))  # bytes of the measured all-reduces
ROW, INNER = 512, 128  # of the measured product
CHAIN = 16  # measured in a row: one all-reduce alone may find all ranks running by luck
REPEATS = 10
# The runs that the prediction is compared with.
MEASURED = Shape("megatron-bert", 4, 128, 4, 512, 64)
ROWS = 8  # sequences of a step with strong scaling; of a copy of the model with weak scaling


def calibrate(
    world: Communicator, say: Callable[[str], object]
) -> tuple[Machine, list[MeasuredRun]]:
    """Return the constants of this machine, and the measured runs with their predictions.

    `matmul` is the rate of a product of the shape of a layer's; `memory` and `overhead` are the
    least squares of the relative errors over `STEPS`; latency and bandwidth those of `MESSAGES`.
    The runs are steps of `MEASURED` on every grid of the ranks. Strong scaling: a step has `ROWS`
    sequences on any grid. Weak scaling: `ROWS` for each copy of the model. With pipeline stages a
    micro-batch has two sequences, else all of a rank.

    Everything is measured in each of `REPEATS` rounds, so that all parts meet the same load of the
    machine; the shortest time counts.

    Raises ValueError for a number of ranks that no grid of `MEASURED` has.
    """
    single, jobs, own = Job(precision="float32"), list(_jobs(world.size)), alone()
    if not jobs:
        raise ValueError(
            f"--calibrate cannot divide its small model among {world.size} ranks; start 1, 2, 4, "
            "8, 16, 32, 64 or 128 with mpiexec -n RANKS"
        )
    measures: list[Callable[[], float]] = [_product(world)]
    measures += [_message(world, size) for size in MESSAGES]
    measures += [
        Runner(shape, replace(single, batch=count, micro=count), own) for count, shape in STEPS
    ]
    measures += [Runner(MEASURED, job, world) for _, job in jobs]
    times = shortest(measures, world, say)
    product, messages = times[0], times[1 : 1 + len(MESSAGES)]
    steps, runs = times[1 + len(MESSAGES) : -len(jobs)], times[-len(jobs) :]

    matmul = 2 * ROW * INNER * ROW / product
    rows, rest = [], []
    for (count, shape), seconds in zip(STEPS, steps, strict=True):
        job = replace(single, batch=count, micro=count)
        moved = layer_traffic(shape, job) * shape.layers * count * shape.positions
        moved += optimizer_traffic(rank_parameters(shape, job), job)
        rows.append([moved / seconds, shape.layers / seconds])
        rest.append(1 - step_flops(shape, job) / matmul / seconds)
    each, overhead = _positive(np.array(rows), np.array(rest))
    latency, bandwidth = _link(world.size, messages - product)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    machine = Machine(
        name=f"measured on {world.size} rank(s)", matmul=matmul, memory=1 / each,
        overhead=overhead, latency=latency, bandwidth=bandwidth, node_latency=latency,
        node_bandwidth=bandwidth * world.size, per_node=world.size,
        capacity=memory / world.size, peak=matmul,
        source="tinybert plan --calibrate", fitted="steps of small models on each rank alone",
    )  # fmt: skip
    return machine, [
        MeasuredRun(
            kind, job.tensor, job.pipeline, job.data, job.batch, float(seconds),
            predict(MEASURED, job, machine).seconds,
        )
        for (kind, job), seconds in zip(jobs, runs, strict=True)
    ]  # fmt: skip


def shortest(
    measures: Sequence[Callable[[], float]], world: Communicator, say: Callable[[str], object]
) -> np.ndarray:
    """Return the shortest seconds of each measurement, as long as its slowest rank.

    Other programs only make a run longer, so the shortest says most about the machine. A first
    round is left out.
    """
    rounds = []
    for number in range(REPEATS + 1):
        say(f"round {number + 1} of {REPEATS + 1} ...")
        rounds.append([measure() for measure in measures])
    return world.allreduce(np.array(rounds[1:]), "max").min(axis=0)


def _factors() -> tuple[np.ndarray, np.ndarray]:
    return np.ones((ROW, INNER), np.float32), np.ones((INNER, ROW), np.float32)


def _product(world: Communicator) -> Callable[[], float]:
    x, w = _factors()

    def measure() -> float:
        world.barrier()
        start = time.perf_counter()
        for _ in range(CHAIN):
            x @ w
        return (time.perf_counter() - start) / CHAIN

    return measure


def _message(world: Communicator, size: int) -> Callable[[], float]:
    """Return a measurement of a product and an all-reduce of so many bytes.

    A rank waits in an all-reduce for the slowest one. Where ranks share cores with others that is
    most of its time, and it shows only between computations.
    """
    array, (x, w) = np.ones(size // 4, np.float32), _factors()

    def measure() -> float:
        world.barrier()
        start = time.perf_counter()
        for _ in range(CHAIN):
            x @ w
            world.allreduce(array)
        return (time.perf_counter() - start) / CHAIN

    return measure


def _link(p: int, seconds: np.ndarray) -> tuple[float, float]:
    """Return latency and bandwidth of p ranks from the seconds of the all-reduces `MESSAGES`."""
    if p == 1:
        return 1e-9, 1e15  # nothing is ever sent
    sizes = np.array(MESSAGES)
    seconds = np.maximum(seconds, 1e-9)
    rows = np.stack([2 * (p - 1) * sizes / p / seconds, 2 * (p - 1) / seconds], axis=1)
    each, latency = _positive(rows, np.ones(len(sizes)))
    return max(latency, 1e-9), 1 / each


def _positive(rows: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Return the least squares of rows @ (a, b) = values with a > 0, b >= 0."""
    a, b = np.linalg.lstsq(rows, values, rcond=None)[0]
    if b < 0 or a <= 0:
        b = 0.0
        a = (rows[:, 0] @ values) / (rows[:, 0] @ rows[:, 0])
    if a <= 0:
        raise ValueError(
            "the machine is too busy to measure: its matrix products took longer than whole "
            "steps; try again"
        )
    return float(a), float(b)


def grids(ranks: int) -> Iterator[tuple[int, int, int]]:
    """Yield all t, p, d with t p d = ranks that the measured model can be divided by."""
    for t in range(1, ranks + 1):
        for p in range(1, ranks // t + 1):
            d, rest = divmod(ranks, t * p)
            if not rest and MEASURED.heads % t == 0 and MEASURED.layers % p == 0 and ROWS % d == 0:
                yield t, p, d


def _jobs(ranks: int) -> Iterator[tuple[str, Job]]:
    """Yield the kind of scaling and the job of each measured run."""
    for t, p, d in grids(ranks):
        for kind in ("strong", "weak") if d > 1 else ("strong",):
            batch = ROWS * d if kind == "weak" else ROWS
            micro = min(2, batch // d) if p > 1 else batch // d
            yield kind, Job(t, p, d, batch, micro, precision="float32")
