"""Memory of a rank: weights, gradients, states of the optimizer, and activations.

Source   activations: Korthikanti et al. 2022, arXiv:2205.05198, equations 1 to 6 and table 2
         optimizer states and ZeRO 1: Rajbhandari et al. 2020, arXiv:1910.02054, section 3.1
"""

from __future__ import annotations

from dataclasses import dataclass

from tinybert.parallel.plan.job import Job
from tinybert.parallel.plan.shapes import Shape


@dataclass(frozen=True)
class Memory:
    """Bytes on the rank that needs the most: one of the first or of the last pipeline stage."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """All bytes."""
        return self.weights + self.gradients + self.optimizer + self.activations


def rank_parameters(shape: Shape, job: Job) -> float:
    """Return the parameters of a rank of the fullest pipeline stage.

    With several stages a tied table of words is on the first and on the last.
    """
    t = job.tensor
    layers = shape.layers / job.pipeline * shape.layer(t)
    first, last = shape.embeddings(t), shape.output(t)
    if job.pipeline == 1:
        return layers + first + last
    shared = shape.vocabulary * shape.hidden / t if shape.tied else 0
    return layers + max(first, last + shared)


def layer_activations(shape: Shape, job: Job) -> float:
    """Return the bytes that one layer keeps of one micro-batch for its backward pass.

    With n = T b tokens and e bytes for a number, a layer keeps per token

        4 e D + 2 D       inputs of both norms and of the matrices after them; two dropout masks
        e (2 H K + 2 G K + 2 F)         queries, keys, values, heads; inside the feed-forward part
        (2 e + 1) H T                   softmax, its dropout mask and result

    For GPT and e = 2 that is T b D (34 + 5 H T / D). Tensor parallelism divides the second and the
    third line by t, sequence parallelism the first one too. Selective recomputation drops the third
    line, full recomputation keeps e D alone, the input of the layer. Without dropout there are no
    masks, and the third line is e H T.
    """
    e, t, tokens = job.bytes, job.tensor, shape.positions * job.micro
    if job.recompute == "full":
        return tokens * e * shape.hidden
    along = (4 * e + 2 * shape.dropout) * shape.hidden
    inside = e * (2 * shape.queries + 2 * shape.keys + 2 * shape.inner)
    scores = (2 * e + 1 if shape.dropout else e) * shape.heads * shape.positions
    kept = inside + (scores if job.recompute == "none" else 0)
    return tokens * (along / (t if job.sequence_parallel else 1) + kept / t)


def activations(shape: Shape, job: Job) -> float:
    """Return the bytes of all activations on a rank of the first pipeline stage.

    In the 1F1B schedule it holds p micro-batches of L / p layers; interleaving adds (p - 1)/(p v)
    of them. Added are the dropout masks of the embeddings, with one stage the input and the 32-bit
    logits of the output, and with full recomputation the layer that is computed again (which the
    paper leaves out).
    """
    e, t, p = job.bytes, job.tensor, job.pipeline
    tokens = shape.positions * job.micro
    spread = t if job.sequence_parallel else 1
    held = min(p, job.microbatches)
    more = 1 + (p - 1) / (p * job.virtual_stages) if job.virtual_stages > 1 else 1
    total = shape.layers / p * held * more * layer_activations(shape, job)
    total += shape.dropout * tokens * shape.hidden * held / spread
    if p == 1:
        total += tokens * (2 * e * shape.hidden / spread + 4 * shape.vocabulary / t)
    if job.recompute != "none":
        whole = layer_activations(shape, Job(**{**vars(job), "recompute": "none"}))
        kept = layer_activations(shape, job) if job.recompute == "selective" else 0
        total += whole - kept
    return total


def memory(shape: Shape, job: Job) -> Memory:
    """Return the memory of the rank that needs the most.

    Mixed precision: 2 bytes for a weight, 2 for its gradient, 12 for Adam's 32-bit weight and two
    moments; float32: 4, 4 and 8. ZeRO 1 divides the last by d.
    """
    count = rank_parameters(shape, job)
    weight, state = (2, 12) if job.precision == "mixed" else (4, 8)
    states = count * state / (job.data if job.zero else 1)
    return Memory(weight * count, weight * count, states, activations(shape, job))
