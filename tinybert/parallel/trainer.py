"""`ParallelTrainer`: the training loop on a grid of ranks.

It is the loop of `Trainer`, with another step, other checkpoints, and one rank that reports.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.backend import manual_seed
from tinybert.models.base import PreTrainedModel
from tinybert.parallel.checkpoint import (
    INDEX,
    Parts,
    gather_model,
    optimizer_numbers,
    own_part,
    read_part,
    write_part,
)
from tinybert.parallel.chunks import whole_texts
from tinybert.parallel.grid import Grid
from tinybert.parallel.parallelize import parallelize
from tinybert.parallel.step import ParallelStep
from tinybert.parallel.words import VocabularyAnswer
from tinybert.training import checkpoint
from tinybert.training.batches import Batches
from tinybert.training.config import TrainingConfig
from tinybert.training.losses import masked_loss
from tinybert.training.trainer import Trainer
from tinybert.weights import load_checkpoint


class ParallelTrainer(Trainer):
    """Trains a model on a grid. Every rank of the grid makes one, with the same arguments.

    A step takes `accumulation` batches for each data-parallel rank. The loss, the gradients and the
    weights are those of `Trainer` with as many batches, but for rounding and the numbers of
    dropout; every grid gives the same.

    Args:
        model, batches, config, folder: as in `Trainer`, the same on every rank. `folder` must be on
            a disk that all ranks share.
        grid: of all ranks.
        sequence: divide the tokens among tensor-parallel ranks; see `parallelize`.
        schedule, zero: see `ParallelStep`.
        **options: those of `Trainer`.

    Raises ValueError for float16, and for options that a grid does not support.
    """

    def __init__(
        self, model: PreTrainedModel, batches: Batches, config: TrainingConfig,
        folder: str | os.PathLike[str], grid: Grid, *, sequence: bool = False,
        schedule: str = "1f1b", zero: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        if config.float16:
            raise ValueError("float16=True is not supported on several ranks")
        if options.get("extra") is not None:
            raise ValueError("a loss with weights of its own is not supported on several ranks")
        if options.get("evaluate") is not None and grid.pipeline.size > 1:
            raise ValueError(
                "an evaluation needs a whole model on each rank, or tensor parallelism: train with "
                "pipeline=1, or without validation data"
            )
        self.part = parallelize(model, grid, sequence)
        if options.get("evaluate") is not None:
            options["evaluate"] = _on_whole_texts(options["evaluate"])
        super().__init__(model, batches, config, folder, **options)
        answer = getattr(model, "answer", None)
        if isinstance(answer, VocabularyAnswer) and self.loss is masked_loss:
            self.loss = answer.masked_loss
        self.run = ParallelStep(
            self.part, self.optimizer, seed=config.seed, schedule=schedule, zero=zero,
            max_grad_norm=config.max_grad_norm, loss=self.loss, count=self.count,
        )  # fmt: skip
        self.first = grid.world.rank == 0
        if not self.first:
            self.report = lambda line: None

    def open_log(self) -> Any:
        self.part.grid.world.barrier()  # simulated ranks share one seed: all have set it now
        return super().open_log() if self.first else nullcontext(_NoLog())

    def _train_step(self) -> dict[str, float]:
        data, size = self.part.grid.data, self.config.accumulation
        batches = [next(self.batches) for _ in range(size * data.size)]
        own = batches[data.rank * size : (data.rank + 1) * size]
        rate = self.schedule.get_last_lr()[0]
        loss = self.run.backward(own, self.step)
        self._check_finite("loss", loss)
        norm = self.run.update()
        self._check_finite("norm of the gradient", norm)
        self.schedule.step()
        tokens = sum(int(np.asarray(b["input_ids"]).size) for b in batches)
        return {"loss": loss, "norm": norm, "learning_rate": rate, "tokens": tokens}

    # --- checkpoints ----------------------------------------------------------------------------

    def save_checkpoint(self) -> Path:
        """Write this rank's part of a checkpoint; rank 0 commits it when all have."""
        world = self.part.grid.world
        if self.first:
            folder = checkpoint.write_checkpoint(
                self.folder, self.step, self._write_parts, self.config.keep
            )
            world.barrier()
            return folder
        folder = self.folder / world.gather_objects(None)[0]
        world.gather_objects(self._write_own(folder))
        world.barrier()
        return folder

    def _write_parts(self, folder: Path) -> None:
        """On rank 0: tell the folder, wait for all files, write the index and the state."""
        world = self.part.grid.world
        world.gather_objects(folder.name)
        entries = [e for part in world.gather_objects(self._write_own(folder)) for e in part]
        (folder / INDEX).write_text(json.dumps(entries), encoding="utf-8")
        state = {
            "step": self.step,
            "config": asdict(self.config),
            "data": self.part.grid.data.size,
            "numbers": optimizer_numbers(self.optimizer),
            "schedule": self.schedule.state_dict(),
            "batches": self.batches.state_dict(),
            "best_score": self.best_score,
            "evaluations_without_gain": self.evaluations_without_gain,
        }
        checkpoint.write_state(folder, state)

    def _write_own(self, folder: Path) -> list[dict[str, Any]]:
        return write_part(folder, self.part, self.optimizer, self.run.zero)

    def resume(self) -> bool:
        """Continue from the newest checkpoint in `folder`, written by a grid of any shape; return
        whether there is one.

        The batches of a step, accumulation * data of them, must be as many as before.
        """
        found = checkpoint.checkpoints(self.folder)
        if not found:
            return False
        state = checkpoint.read_state(found[-1])
        before, data = state["config"], self.part.grid.data.size
        if "data" not in state:
            raise ValueError(f"{found[-1]} was written without MPI; resume without mpiexec")
        count = before["accumulation"] * state["data"]
        if count != self.config.accumulation * data:
            raise ValueError(
                f"a step had {before['accumulation']} * {state['data']} batches (accumulation * "
                f"data) when this run was saved, now it has {self.config.accumulation} * {data}; "
                + ("choose data as a divisor of " if count % data else "set accumulation to ")
                + str(count if count % data else count // data)
            )
        self._check_config({**before, "accumulation": self.config.accumulation})
        self.batches.load_state_dict(state["batches"])
        read_part(Parts(found[-1]), self.part, self.optimizer, self.run.zero, state["numbers"])
        self.schedule.load_state_dict(state["schedule"])
        self.step = state["step"]
        self.best_score = state["best_score"]
        self.evaluations_without_gain = state["evaluations_without_gain"]
        return True

    def _load_weights(self, folder: Path) -> None:
        """Read this rank's part of a model folder."""
        arrays, part = load_checkpoint(folder), self.part
        for name, tensor in part.model.named_state():
            tensor.data[...] = own_part(part, name, arrays[part.placements[name].name])
            tensor._version.bump("_load_weights")

    def _write_model(self, folder: Path) -> None:
        """Write a plain model folder from rank 0."""
        weights = gather_model(self.part)
        if self.first and weights is not None:
            model = self.part.model
            with manual_seed(0):  # its fresh weights do not change the run's numbers
                full = type(model)(model.config)
            full.to(dtype=model.dtype)
            full.load_state_dict(weights, strict=False)
            full.save_pretrained(folder)
            self.save(folder)
        self.part.grid.world.barrier()


def _on_whole_texts(evaluate: Callable[[Any], dict[str, float]]) -> Callable[[Any], Any]:
    """Return an evaluation in which each rank computes all tokens of a text."""

    def run(model: Any) -> dict[str, float]:
        with whole_texts(model):
            return evaluate(model)

    return run


class _NoLog:
    """The log of the ranks that do not report."""

    def add(self, entry: dict[str, float], write: bool) -> None:
        """Do nothing."""

    def write(self, line: dict[str, float]) -> None:
        """Do nothing."""
