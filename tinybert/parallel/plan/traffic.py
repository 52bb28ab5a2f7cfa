"""What a rank sends in a step: messages of tensor, pipeline and data parallelism.

    Source   Shoeybi et al. 2019, arXiv:1909.08053, section 3 (f and g: two all-reduces of a layer
             in each pass); Narayanan et al. 2021, arXiv:2104.04473, sections 3.2 and 4.1
             Korthikanti et al. 2022, arXiv:2205.05198, section 4.2.2 (sequence parallelism
             replaces an all-reduce by an all-gather and a reduce-scatter: the same bytes)

The bytes sent by a rank for a message are those of the ring algorithm: `communicator.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tinybert.parallel.communicator import bytes_sent
from tinybert.parallel.plan.job import Job
from tinybert.parallel.plan.memory import rank_parameters
from tinybert.parallel.plan.shapes import Shape


@dataclass(frozen=True)
class Messages:
    """Messages of one kind that a rank takes part in, in a step.

    Attributes:
        operation: "allreduce" or "send".
        count: how many.
        bytes: of each message.
        ranks: of the group.
    """

    operation: str
    count: float
    bytes: float
    ranks: int

    @property
    def sent(self) -> float:
        """The bytes that a rank sends for all of them."""
        return self.count * bytes_sent(self.operation, 1, self.ranks) * self.bytes


def layer_messages(shape: Shape, job: Job) -> Messages:
    """Return the all-reduces of one layer and one micro-batch: g forward, f backward, each twice.

    Full recomputation repeats those of the forward pass.
    """
    size = job.bytes * shape.positions * job.micro * shape.hidden
    return Messages("allreduce", 6 if job.recompute == "full" else 4, size, job.tensor)


def tensor_messages(shape: Shape, job: Job) -> list[Messages]:
    """Return the all-reduces of one micro-batch on the last stage.

    They are those of its layers, of the gradient of the output's input, of the loss, and with one
    stage of the embeddings.
    """
    layer = layer_messages(shape, job)
    count = layer.count * shape.layers / job.pipeline + (2 if job.pipeline == 1 else 1)
    return [replace(layer, count=count), loss_messages(shape, job)]


def loss_messages(shape: Shape, job: Job) -> Messages:
    """Return the all-reduces of one micro-batch's vocabulary-parallel cross entropy, 32-bit.

    For each token: the largest logit, the sum of exponentials, and the logit of the label.
    """
    return Messages("allreduce", 3, 4 * shape.positions * job.micro, job.tensor)


def stage_messages(shape: Shape, job: Job) -> Messages:
    """Return the sends of a stage in the middle: each micro-batch forward and backward.

    With `scatter` or sequence parallelism each of the t ranks sends a part (section 4.1 of
    arXiv:2104.04473).
    """
    spread = job.tensor if job.scatter or job.sequence_parallel else 1
    size = job.bytes * shape.positions * job.micro * shape.hidden / spread
    count = 2 * job.microbatches * job.virtual_stages if job.pipeline > 1 else 0
    return Messages("send", count, size, 2)


def gradient_messages(shape: Shape, job: Job) -> Messages:
    """Return the sum of the gradients over the data-parallel ranks, once in a step.

    ZeRO 1 sums by a reduce-scatter and gathers the new weights: the same bytes.
    """
    size = job.bytes * rank_parameters(shape, job)
    return Messages("allreduce", 1 if job.data > 1 else 0, size, job.data)


def tied_messages(shape: Shape, job: Job) -> Messages:
    """Return the sum of the gradient of the table of words over the first and the last stage."""
    size = job.bytes * shape.vocabulary * shape.hidden / job.tensor
    return Messages("allreduce", 1 if shape.tied and job.pipeline > 1 else 0, size, 2)


def step_messages(shape: Shape, job: Job) -> dict[str, list[Messages]]:
    """Return the messages of a rank in a step by the kind of parallelism.

    Of the tensor-parallel ranks they are those of the last stage.
    """
    times = job.microbatches if job.tensor > 1 else 0
    tensor = [replace(m, count=times * m.count) for m in tensor_messages(shape, job)]
    return {
        "tensor": tensor,
        "pipeline": [stage_messages(shape, job), tied_messages(shape, job)],
        "data": [gradient_messages(shape, job)],
    }
