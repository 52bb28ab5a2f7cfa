"""The time of a step: matrix products, other operations, messages, bubble, optimizer.

    Source   alpha-beta model: Thakur et al. 2005, "Optimization of collective communication
             operations in MPICH"; pipeline bubble (p - 1)/(v m): Narayanan et al. 2021,
             arXiv:2104.04473, section 2.2

A message of n bytes takes alpha + n / beta; an all-reduce on a ring of r ranks is 2 (r - 1)
messages of n / r bytes. Nothing overlaps, except gradients with `overlap`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinybert.parallel.plan.job import Job
from tinybert.parallel.plan.machines import Machine
from tinybert.parallel.plan.memory import rank_parameters
from tinybert.parallel.plan.shapes import Shape
from tinybert.parallel.plan.traffic import (
    Messages,
    gradient_messages,
    stage_messages,
    tensor_messages,
    tied_messages,
)
from tinybert.parallel.plan.work import (
    attention_flops,
    layer_traffic,
    model_flops,
    optimizer_traffic,
    output_flops,
    passes,
    step_flops,
)


@dataclass(frozen=True)
class Step:
    """The seconds of a step by what they are spent on, and the rates that follow.

    Attributes:
        matmul, other, overhead: matrix products, other operations, and what no size changes.
        tensor, pipeline, data: messages of each kind of parallelism.
        bubble: waiting of a pipeline stage for the others.
        optimizer: the update of the weights.
        flops: FLOP/s of a rank, with what is computed again.
        utilization: FLOP/s that the model needs, as a share of the peak (MFU).
    """

    matmul: float
    other: float
    overhead: float
    tensor: float
    pipeline: float
    data: float
    bubble: float
    optimizer: float
    flops: float
    utilization: float

    @property
    def seconds(self) -> float:
        """The time of the step."""
        parts = (self.matmul, self.other, self.overhead, self.tensor, self.pipeline, self.data)
        return sum(parts) + self.bubble + self.optimizer


def time_of(messages: Messages, latency: float, bandwidth: float) -> float:
    """Return the seconds of messages, one after the other."""
    if messages.count == 0 or messages.ranks == 1:
        return 0.0
    steps = 2 * (messages.ranks - 1) if messages.operation == "allreduce" else 1
    return messages.count * steps * latency + messages.sent / bandwidth


def predict(shape: Shape, job: Job, machine: Machine) -> Step:
    """Return the time of a step on a machine; ValueError if the shape cannot be split like that.

    Ranks are numbered as in Megatron: tensor first, then data, then pipeline.
    """
    job.check_fits(shape)
    m, p, t = job.microbatches, job.pipeline, job.tensor
    tokens = shape.positions * job.micro
    layers, (whole, core) = shape.layers / p, passes(job)

    # One micro-batch on the stage with the output, the slowest one.
    flops = layers * (whole * 2 * shape.matrix + core * attention_flops(shape))
    products = tokens * (flops + 3 * output_flops(shape)) / t / machine.matmul
    other = tokens * layers * layer_traffic(shape, job) / machine.memory
    overhead = layers * machine.overhead
    inner = machine.link(1) if t > machine.per_node else (machine.latency, machine.bandwidth)
    tensor = sum(time_of(messages, *inner) for messages in tensor_messages(shape, job))

    # The bubble: p - 1 micro-batches of one virtual stage, without the output.
    logits = tokens * 3 * output_flops(shape) / t / machine.matmul
    bubble = (p - 1) / job.virtual_stages * (products - logits + other + overhead + tensor)

    one_node = job.ranks <= machine.per_node
    slow = (machine.latency, machine.bandwidth) if one_node else machine.link(1)
    stages = time_of(stage_messages(shape, job), *slow)
    stages += time_of(tied_messages(shape, job), *slow)

    members = min(job.data, max(1, machine.per_node // t))
    together = members == job.data
    fast = (machine.latency, machine.bandwidth)
    data = time_of(gradient_messages(shape, job), *(fast if together else machine.link(members)))
    if job.overlap:
        backward = (products + other + overhead + tensor) * (1 - 1 / whole)
        data = max(0.0, data - backward)

    update = optimizer_traffic(rank_parameters(shape, job), job) / machine.memory
    parts = (m * products, m * other, m * overhead, m * tensor, stages, data, bubble, update)
    seconds = sum(parts) * job.ranks
    return Step(
        *parts,
        flops=step_flops(shape, job) / seconds,
        utilization=model_flops(shape, job) / seconds / machine.peak,
    )
