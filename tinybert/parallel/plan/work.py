"""What a rank computes in a step: FLOPs of matrix products, and bytes that other operations move.

    Source   FLOPs: Narayanan et al. 2021, arXiv:2104.04473, equation 3 and appendix

A multiplication and an addition are two FLOPs. The backward pass of a matrix product is two such
products. As in the paper, causal attention counts as if it computed all scores.
"""

from __future__ import annotations

from tinybert.parallel.plan.job import Job
from tinybert.parallel.plan.shapes import Shape

BACKWARD_TRAFFIC = 1.5  # reads the gradient and what was kept, writes a gradient: 3 for 2


def layer_flops(shape: Shape) -> float:
    """Return the FLOPs of a layer's forward pass for one token: its matrices and attention."""
    return 2 * shape.matrix + attention_flops(shape)


def attention_flops(shape: Shape) -> float:
    """Return the FLOPs of the scores and of the weighted sum of values, for one token."""
    return 4 * shape.positions * shape.queries


def output_flops(shape: Shape) -> float:
    """Return the FLOPs of the forward pass after the last layer, for one token."""
    transform = 2 * shape.hidden**2 if "bert" in shape.family else 0
    return 2 * shape.hidden * shape.vocabulary + transform


def passes(job: Job) -> tuple[float, float]:
    """Return how often the work of a forward pass is done in a step: a layer, and attention's core.

    Forward once, backward twice, and once more what is computed again.
    """
    return 3 + (job.recompute == "full"), 3 + (job.recompute != "none")


def step_flops(shape: Shape, job: Job) -> float:
    """Return the FLOPs of a step over all ranks, with what is computed again.

    For GPT with full recomputation, equation 3: 96 B T L D^2 (1 + T / 6 D + V / 16 L D).
    """
    whole, core = passes(job)
    layer = whole * 2 * shape.matrix + core * attention_flops(shape)
    return job.batch * shape.positions * (shape.layers * layer + 3 * output_flops(shape))


def model_flops(shape: Shape, job: Job) -> float:
    """Return the FLOPs of a step over all ranks that the model needs: without recomputation."""
    return step_flops(shape, Job(**{**vars(job), "recompute": "none"}))


def layer_traffic(shape: Shape, job: Job) -> float:
    """Return the bytes that a rank moves per token and layer in a step, outside matrix products.

    The forward pass reads and writes e bytes for each number: two norms 4 e D; two times dropout
    and residual 6 e D + 2 D; activation 2 e F; softmax 2 e H T, and its dropout (2 e + 1) H T.
    Tensor parallelism splits the activation and the softmax, sequence parallelism the rest.
    """
    e, t = job.bytes, job.tensor
    along = (10 * e + 2 * shape.dropout) * shape.hidden / (t if job.sequence_parallel else 1)
    inner = 2 * e * shape.inner / t
    softmax = (4 * e + 1 if shape.dropout else 2 * e) * shape.heads * shape.positions / t
    forward = 1 + BACKWARD_TRAFFIC
    again, core = job.recompute == "full", job.recompute != "none"
    return (forward + again) * (along + inner) + (forward + core) * softmax


def optimizer_traffic(parameters: float, job: Job) -> float:
    """Return the bytes that Adam moves for the parameters of a rank.

    It reads gradient, weight and two moments, and writes the last three; mixed precision also
    writes a 16-bit weight.
    """
    each = 2 + 24 + 2 if job.precision == "mixed" else 4 + 24
    return each * parameters / (job.data if job.zero else 1)
