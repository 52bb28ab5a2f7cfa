"""Small training steps on a grid of ranks, to measure their time and what they send."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.models import MegatronBertConfig, MegatronBertForPreTraining
from tinybert.optim import AdamW
from tinybert.parallel.communicator import Communicator
from tinybert.parallel.grid import Grid
from tinybert.parallel.parallelize import parallelize
from tinybert.parallel.plan.job import Job
from tinybert.parallel.plan.shapes import Shape
from tinybert.parallel.step import ParallelStep


@dataclass(frozen=True)
class MeasuredRun:
    """The seconds of a measured step and of its prediction, with `kind` "strong" or "weak"."""

    kind: str
    tensor: int
    pipeline: int
    data: int
    batch: int
    seconds: float
    predicted: float


def read_runs(path: Path) -> list[MeasuredRun]:
    """Return the runs of a file that `tinybert plan --calibrate` wrote; ValueError for another."""
    try:
        return [MeasuredRun(**run) for run in json.loads(path.read_text(encoding="utf-8"))["runs"]]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a file of tinybert plan --calibrate: {error!r}") from None


class Runner:
    """A MegatronBERT of a shape with random weights, and its steps of random tokens on this rank.

    Args:
        shape: of family "megatron-bert".
        job: must have the ranks of `world`, precision "float32", and no recomputation.
        world: all ranks.
    """

    def __init__(self, shape: Shape, job: Job, world: Communicator) -> None:
        config = MegatronBertConfig(
            vocab_size=shape.vocabulary, hidden_size=shape.hidden,
            num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
            intermediate_size=shape.inner, max_position_embeddings=shape.positions,
        )  # fmt: skip
        self.grid = Grid(job.tensor, job.pipeline, job.data, world)
        model = MegatronBertForPreTraining(config).train()
        weights = np.random.default_rng(0)  # the same on every rank, also on simulated ones
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.data[...] = 0.02 * weights.standard_normal(parameter.shape)
        self.part = parallelize(model, self.grid, job.sequence_parallel)
        optimizer = AdamW(self.part.model.parameters(), lr=1e-4)
        self.step = ParallelStep(self.part, optimizer, zero=job.zero)
        rng = np.random.default_rng(self.grid.place[2])
        self.batches = [_batch(shape, job.micro, rng) for _ in range(job.microbatches)]
        self.number = 0

    def __call__(self) -> float:
        """Run one step; return its seconds."""
        self.grid.world.barrier()
        start = time.perf_counter()
        self.step(self.batches, self.number)
        self.number += 1
        return time.perf_counter() - start


def _batch(shape: Shape, rows: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return random token ids (B, T), a label for each, and for each row one for its sentences."""
    size = rows, shape.positions
    ids, labels = rng.integers(shape.vocabulary, size=(2, *size))
    return {
        "input_ids": ids,
        "attention_mask": np.ones(size, int),
        "labels": labels,
        "next_sentence_label": rng.integers(2, size=rows),
    }
