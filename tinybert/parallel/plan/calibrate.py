"""Measure the constants of this machine: matrix products, other operations, messages.

All ranks measure at the same time, as they would compute: ranks that share cores are slower.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import numpy as np

from tinybert.parallel.communicator import Communicator
from tinybert.parallel.grid import alone
from tinybert.parallel.plan.job import Job
from tinybert.parallel.plan.machines import Machine
from tinybert.parallel.plan.memory import rank_parameters
from tinybert.parallel.plan.prediction import predict
from tinybert.parallel.plan.runs import MeasuredRun, Runner, seconds_of
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


def calibrate(world: Communicator, say: Callable[[str], object]) -> Machine:
    """Return the constants of this machine, measured on all ranks of `world` at once.

    `matmul` is the rate of a product of the shape of a layer's; `memory` and `overhead` are the
    least squares of the relative errors over `STEPS`; latency and bandwidth those of `MESSAGES`.
    """
    say("matrix products ...")
    product = seconds_of(_product(world), world, REPEATS)
    matmul = 2 * ROW * INNER * ROW / product
    say("training steps on each rank alone ...")
    rows, times = [], []
    for count, shape in STEPS:
        job = Job(batch=count, micro=count, precision="float32")
        seconds = seconds_of(Runner(shape, job, alone()), world, REPEATS)
        moved = layer_traffic(shape, job) * shape.layers * count * shape.positions
        moved += optimizer_traffic(rank_parameters(shape, job), job)
        rows.append([moved / seconds, shape.layers / seconds])
        times.append(1 - step_flops(shape, job) / matmul / seconds)
    each, overhead = _positive(np.array(rows), np.array(times))
    say("messages ...")
    latency, bandwidth = _link(world, product)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        name=f"measured on {world.size} rank(s)", matmul=matmul, memory=1 / each,
        overhead=overhead, latency=latency, bandwidth=bandwidth, node_latency=latency,
        node_bandwidth=bandwidth * world.size, per_node=world.size,
        capacity=memory / world.size, peak=matmul,
        source="tinybert plan --calibrate", fitted="steps of small models on each rank alone",
    )  # fmt: skip


def _factors() -> tuple[np.ndarray, np.ndarray]:
    return np.ones((ROW, INNER), np.float32), np.ones((INNER, ROW), np.float32)


def _product(world: Communicator) -> Callable[[], float]:
    x, w = _factors()

    def run() -> float:
        world.barrier()
        start = time.perf_counter()
        for _ in range(CHAIN):
            x @ w
        return (time.perf_counter() - start) / CHAIN

    return run


def _positive(rows: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Return the least squares of rows @ (a, b) = values with a > 0, b >= 0."""
    a, b = np.linalg.lstsq(rows, values, rcond=None)[0]
    if b < 0 or a <= 0:
        b = 0.0
        a = (rows[:, 0] @ values) / (rows[:, 0] @ rows[:, 0])
    if a <= 0:
        raise ValueError("the machine is too busy to measure: its matrix products took longer "
                         "than whole steps; try again")  # fmt: skip
    return float(a), float(b)


def _link(world: Communicator, product: float) -> tuple[float, float]:
    """Return latency and bandwidth, from all-reduces of several sizes.

    Before each the ranks compute a product, whose time is taken off: a rank waits in an all-reduce
    for the slowest one, and where ranks share cores with others that is most of its time.
    """
    p = world.size
    if p == 1:
        return 1e-9, 1e15  # nothing is ever sent
    x, w = _factors()
    rows, ones = [], []
    for size in MESSAGES:
        array = np.ones(size // 4, np.float32)

        def run(array: np.ndarray = array) -> float:
            world.barrier()
            start = time.perf_counter()
            for _ in range(CHAIN):
                x @ w
                world.allreduce(array)
            return (time.perf_counter() - start) / CHAIN

        seconds = seconds_of(run, world, REPEATS) - product
        rows.append([2 * (p - 1) * size / p / seconds, 2 * (p - 1) / seconds])
        ones.append(1.0)
    each, latency = _positive(np.array(rows), np.array(ones))
    return max(latency, 1e-9), 1 / each


def grids(ranks: int) -> Iterator[tuple[int, int, int]]:
    """Yield all t, p, d with t p d = ranks that the measured model can be divided by."""
    for t in range(1, ranks + 1):
        for p in range(1, ranks // t + 1):
            d, rest = divmod(ranks, t * p)
            if not rest and MEASURED.heads % t == 0 and MEASURED.layers % p == 0 and ROWS % d == 0:
                yield t, p, d


def measured_runs(
    world: Communicator, machine: Machine, say: Callable[[str], object]
) -> list[MeasuredRun]:
    """Measure a step on every grid of the ranks; return each with its prediction.

    Strong scaling: a step has `ROWS` sequences on any grid. Weak scaling: `ROWS` for each copy of
    the model. With pipeline stages a micro-batch has two sequences, else all of a rank.
    """
    found: list[MeasuredRun] = []
    for t, p, d in grids(world.size):
        for kind in ("strong", "weak") if d > 1 else ("strong",):
            say(f"tensor {t}, pipeline {p}, data {d}, {kind} scaling ...")
            batch = ROWS * d if kind == "weak" else ROWS
            micro = min(2, batch // d) if p > 1 else batch // d
            job = Job(t, p, d, batch, micro, precision="float32")
            seconds = seconds_of(Runner(MEASURED, job, world), world, REPEATS)
            step = predict(MEASURED, job, machine)
            found.append(MeasuredRun(kind, t, p, d, batch, seconds, step.seconds))
    return found
