"""Published runs, and what the model says of them.

A paper does not say everything. Assumed is: micro-batches and interleaving of arXiv:2104.04473 as
in `examples/sc21/run_table_1.sh` of Megatron-LM; no overlap of the gradients' sum before 2024; for
Nemotron-4 overlap, selective recomputation and sequence parallelism, micro-batches of one sequence
(340B) or of all sequences of a rank (15B), and of 340B eight virtual stages where the schedule
allows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tinybert.parallel.plan.job import Job
from tinybert.parallel.plan.machines import MACHINES
from tinybert.parallel.plan.prediction import predict
from tinybert.parallel.plan.shapes import PRESETS

UNITS = {
    "speedup": "x",
    "scaling": "%",
    "petaflops": "PFLOP/s",
    "teraflops": "TFLOP/s",
    "seconds": "s",
}
_BASELINE = Job(batch=8, micro=8, recompute="full")  # of arXiv:1909.08053: 1.2B on one GPU


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes:
        source: the paper and its table or figure.
        model: a name of `PRESETS`.
        job, machine: how it ran.
        kind: a key of `UNITS`. "teraflops" are of a GPU, "petaflops" of all; "scaling" is FLOP/s
            of a GPU in percent of the 1.2B model on one; "speedup" is over that run.
        value: the published number.
        fitted: whether the machine's constants were fitted to it.
    """

    source: str
    model: str
    job: Job
    machine: str
    kind: str
    value: float
    fitted: bool = False

    @property
    def prediction(self) -> float:
        """What the model predicts for the number."""
        step = predict(PRESETS[self.model][0], self.job, MACHINES[self.machine])
        if self.kind == "seconds":
            return step.seconds
        if self.kind == "teraflops":
            return step.flops / 1e12
        if self.kind == "petaflops":
            return step.flops * self.job.ranks / 1e15
        base = predict(PRESETS["megatron-1.2b"][0], _BASELINE, MACHINES[self.machine])
        if self.kind == "speedup":
            return base.seconds / step.seconds
        return 100 * step.flops / base.flops

    @property
    def deviation(self) -> float:
        """The prediction relative to the published number, less 1."""
        return self.prediction / self.value - 1


def published() -> Iterator[Published]:
    """Yield all published numbers."""
    yield from _megatron_2019()
    yield from _megatron_2021()
    yield from _megatron_2022()
    yield from _nemotron()


def _megatron_2019() -> Iterator[Published]:
    paper = "1909.08053 "
    base, name = _BASELINE, "megatron-1.2b"
    yield Published(paper + "5.1", name, base, "v100", "teraflops", 39, fitted=True)
    for tensor, value in ((2, 1.64), (4, 2.34), (8, 2.98)):
        job = Job(tensor=tensor, batch=8, micro=8, recompute="full")
        yield Published(paper + "tab. 8", name, job, "v100", "speedup", value, tensor == 2)
    rows = (("1.2b", 1, 100, 96), ("2.5b", 2, 95, 83), ("4.2b", 4, 82, 79), ("8.3b", 8, 77, 74))
    for data in (1, 64):
        for size, tensor, alone, together in rows:
            job = Job(tensor=tensor, data=data, batch=8 * data, micro=8, recompute="full")
            value, model = (alone if data == 1 else together), f"megatron-{size}"
            if job.ranks > 1:
                yield Published(paper + "fig. 5", model, job, "v100", "scaling", value)
    yield Published(paper + "abstract", "megatron-8.3b", job, "v100", "petaflops", 15.1)


def _megatron_2021() -> Iterator[Published]:
    # Model, t, p, GPUs, batch, micro-batch, v, TFLOP/s of a GPU.
    rows = (
        ("1.7b", 1, 1, 32, 512, 16, 1, 137),
        ("3.6b", 2, 1, 64, 512, 16, 1, 138),
        ("7.5b", 4, 1, 128, 512, 16, 1, 142),
        ("18b", 8, 1, 256, 1024, 8, 1, 135),
        ("39b", 8, 2, 512, 1536, 4, 1, 138),
        ("76b", 8, 4, 1024, 1792, 2, 3, 140),
        ("145b", 8, 8, 1536, 2304, 2, 2, 148),
        ("310b", 8, 16, 1920, 2160, 1, 2, 155),
        ("530b", 8, 35, 2520, 2520, 1, 3, 163),
        ("1t", 8, 64, 3072, 3072, 1, 1, 163),
    )
    for size, t, p, gpus, batch, micro, v, value in rows:
        data = gpus // (t * p)
        job = Job(t, p, data, batch, micro, v, recompute="full", scatter=True)
        source, fitted = "2104.04473 tab. 1", size == "18b"
        yield Published(source, f"gpt-{size}", job, "a100", "teraflops", value, fitted)


def _megatron_2022() -> Iterator[Published]:
    # Model, p, v, batch, micro-batch; seconds with full recomputation, and with selective
    # recomputation and sequence parallelism.
    rows = (
        ("22b", 1, 1, 4, 4, 1.42, 1.10),
        ("175b", 8, 3, 64, 1, 18.13, 13.75),
        ("530b", 35, 3, 280, 1, 49.05, 37.83),
        ("1t", 64, 1, 512, 1, 94.42, 71.49),
    )
    for size, p, v, batch, micro, full, selective in rows:
        for recompute, value in (("full", full), ("selective", selective)):
            parallel = recompute == "selective"
            job = Job(8, p, 1, batch, micro, v, recompute, parallel, scatter=True)
            yield Published("2205.05198 tab. 5", f"gpt-{size}", job, "a100", "seconds", value)


def _nemotron() -> Iterator[Published]:
    # Model, p, GPUs, batch, micro-batch, v, seconds.
    rows = (
        ("15b", 1, 768, 384, 4, 1, 0.57),
        ("15b", 1, 1536, 768, 4, 1, 0.58),
        ("15b", 1, 2304, 1152, 4, 1, 0.64),
        ("340b", 12, 1536, 768, 1, 8, 10.3),
        ("340b", 12, 3072, 1536, 1, 8, 10.3),
        ("340b", 12, 6144, 2304, 1, 8, 8.0),
    )
    for size, p, gpus, batch, micro, v, value in rows:
        job = Job(
            8, p, gpus // (8 * p), batch, micro, v, "selective", sequence_parallel=True,
            zero=True, overlap=True,
        )  # fmt: skip
        paper = "2402.16819 tab. 2" if size == "15b" else "2406.11704 tab. 2"
        fitted = gpus == 768
        yield Published(paper, f"nemotron-4-{size}", job, "h100", "seconds", value, fitted)
