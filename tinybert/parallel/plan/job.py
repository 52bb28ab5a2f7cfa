"""`Job`: how a training run is spread over ranks."""

from __future__ import annotations

from dataclasses import dataclass

from tinybert.checks import check, check_choice, check_integer
from tinybert.parallel.plan.shapes import Shape

RECOMPUTE = ("none", "selective", "full")
PRECISIONS = ("mixed", "float32")


@dataclass(frozen=True)
class Job:
    """How one training step is split.

    Attributes:
        tensor, pipeline, data: t, p and d; the ranks are t p d.
        batch: sequences of a step, over all ranks.
        micro: b, sequences of a micro-batch; each rank computes m = batch / (d b) of them.
        virtual_stages: v, stages on each pipeline rank (the interleaved schedule; the paper calls
            their layers model chunks).
        recompute: what is computed again in the backward pass: "none", "selective" (the inside of
            attention: scores, softmax, dropout) or "full" (each layer from its input).
        sequence_parallel: whether norms, dropout and residuals are split along the sequence.
        scatter: whether each tensor-parallel rank sends a part of the hidden states to the next
            stage, which gathers them over its fast links; implied by `sequence_parallel`.
        zero: whether the states of the optimizer are split over the data-parallel ranks (ZeRO 1).
        overlap: whether gradients are summed while the backward pass of the last micro-batch runs.
        precision: "mixed" (16-bit weights, gradients and activations; 32-bit weights and moments
            in Adam) or "float32".
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    batch: int = 1
    micro: int = 1
    virtual_stages: int = 1
    recompute: str = "none"
    sequence_parallel: bool = False
    scatter: bool = False
    zero: bool = False
    overlap: bool = False
    precision: str = "mixed"

    def __post_init__(self) -> None:
        for name in ("tensor", "pipeline", "data", "batch", "micro", "virtual_stages"):
            check_integer(name, getattr(self, name), 1)
        check_choice("recompute", self.recompute, RECOMPUTE)
        check_choice("precision", self.precision, PRECISIONS)
        rows = self.data * self.micro
        check("batch", self.batch, self.batch % rows == 0,
              f"a multiple of data x micro = {self.data} x {self.micro} = {rows}")  # fmt: skip
        if self.virtual_stages > 1:
            check("virtual_stages", self.virtual_stages, self.pipeline > 1,
                  "1 unless pipeline is 2 or more")  # fmt: skip
            check("batch", self.batch, self.microbatches % self.pipeline == 0,
                  f"a multiple of data x micro x pipeline = {rows * self.pipeline}, because "
                  f"virtual_stages is {self.virtual_stages}")  # fmt: skip

    @property
    def ranks(self) -> int:
        """The number of ranks, t p d."""
        return self.tensor * self.pipeline * self.data

    @property
    def microbatches(self) -> int:
        """The number m of micro-batches that a rank computes in a step."""
        return self.batch // (self.data * self.micro)

    @property
    def bytes(self) -> int:
        """The bytes of one number of an activation."""
        return 2 if self.precision == "mixed" else 4

    def check_fits(self, shape: Shape) -> None:
        """Raise ValueError unless the shape can be split like this."""
        t, stages = self.tensor, self.pipeline * self.virtual_stages
        check("tensor", t, shape.heads % t == 0, f"a divisor of the {shape.heads} heads")
        if shape.kv_heads % t and t % shape.kv_heads:
            raise ValueError(f"tensor {t} does not fit {shape.kv_heads} heads of keys and values")
        check("tensor", t, shape.inner % t == 0, f"a divisor of the inner size {shape.inner}")
        name = "pipeline x virtual_stages" if self.virtual_stages > 1 else "pipeline"
        check(name, stages, shape.layers % stages == 0,
              f"a divisor of the {shape.layers} layers")  # fmt: skip
        if self.sequence_parallel:
            check("tensor", t, shape.positions % t == 0,
                  f"a divisor of the {shape.positions} tokens of a sequence")  # fmt: skip
