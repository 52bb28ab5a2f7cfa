"""`Trainer`: the training loop."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.autograd import Tensor
from tinybert.backend import generator_state, manual_seed, set_generator_state
from tinybert.models.base import PreTrainedModel
from tinybert.nn import Module
from tinybert.optim import clip_grad_norm_, decay_groups
from tinybert.training import checkpoint
from tinybert.training.batches import Batch, Batches
from tinybert.training.config import OPTIMIZERS, SCHEDULES, TrainingConfig
from tinybert.training.half_precision import HalfPrecision
from tinybert.training.log import TrainingLog
from tinybert.training.losses import model_loss
from tinybert.training.masking import IGNORED
from tinybert.weights import CheckpointError, load_checkpoint, load_file, save_file

BEST = "best"  # the folder of the best model so far
# Options that may change when a run continues: they have no effect on a step.
FREE = {"log_every", "evaluate_every", "save_every", "keep", "patience"}


def count_labels(batch: Batch) -> int:
    """Return the number of labels that the loss is the mean of: those of tokens, or of texts."""
    labels = batch.get("labels")
    if isinstance(labels, np.ndarray) and labels.ndim == 2 and labels.dtype.kind in "iu":
        return int((labels != IGNORED).sum())
    return len(batch["input_ids"])


class Trainer:
    """Trains a model: loss, backward, clipping, update; evaluation, checkpoints and a log.

    Args:
        model: the model to train, in place. Of a model with low-rank adapters (`add_adapters`) only
            these are trained and written.
        batches: the training data.
        config: the options of the run.
        folder: where checkpoints, the log (`log.jsonl`) and at the end the model are written: the
            best one, if there are evaluations.
        evaluate: returns metrics of the model by name; None for no evaluation.
        best: the metric to which early stopping and the best checkpoint refer, with "-" before its
            name if less is better.
        loss: the loss of a batch, a mean over `count(batch)` labels. The default is the model's.
        count: the number of labels in a batch. The batches of one step are weighted by it, which
            gives the gradient of one large batch.
        save: writes the other files of a model folder, for example those of the tokenizer.
        report: called with a line of text after each evaluation and checkpoint.
        extra: a module that is trained too and is kept in checkpoints, but not in the model folder:
            a part of the loss. Not with float16.

    A run that continues from a checkpoint ends with the same weights, bit for bit, as one that was
    never stopped, on the same machine with the same number of threads.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        batches: Batches,
        config: TrainingConfig,
        folder: str | os.PathLike[str],
        *,
        evaluate: Callable[[Any], dict[str, float]] | None = None,
        best: str = "-loss",
        loss: Callable[[Any, Batch], Tensor] = model_loss,
        count: Callable[[Batch], int] = count_labels,
        save: Callable[[Path], object] = lambda folder: None,
        report: Callable[[str], object] = lambda line: None,
        extra: Module | None = None,
    ) -> None:
        self.model, self.batches, self.config, self.folder = model, batches, config, Path(folder)
        self.evaluate, self.best, self.loss, self.count = evaluate, best, loss, count
        self.save, self.report, self.extra = save, report, extra
        if config.float16 and extra is not None:
            raise ValueError("float16=True cannot be combined with a loss that has weights")
        self.half = HalfPrecision(model) if config.float16 else None
        trained = [*(self.half or model).parameters(), *(extra.parameters() if extra else ())]
        self.optimizer = OPTIMIZERS[config.optimizer](
            decay_groups(trained, config.weight_decay), lr=config.learning_rate
        )
        warmup = round(config.warmup * config.steps)
        self.schedule = SCHEDULES[config.schedule](self.optimizer, warmup, config.steps)
        self.step = 0
        self.best_score: float | None = None
        self.evaluations_without_gain = 0
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable()

    # --- the loop -------------------------------------------------------------------------------

    def train(self) -> dict[str, float]:
        """Train until the last step, and return the last metrics."""
        if self.step == 0:
            manual_seed(self.config.seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        metrics: dict[str, float] = {}
        with self.open_log() as log:
            while self.step < self.config.steps and not self._should_stop():
                self.model.train()
                entry = self._train_step()
                self.step += 1
                last = self.step == self.config.steps
                log.add(entry, write=last or self._due(self.config.log_every))
                if self.evaluate and (last or self._due(self.config.evaluate_every)):
                    metrics = self._evaluate()
                    log.write({"step": self.step, **metrics})
                    self.report(f"step {self.step}: {readable(metrics)}{self._praise()}")
                if last or self._due(self.config.save_every):
                    self.save_checkpoint()
        self.model.eval()
        best = self.folder / BEST
        if best.exists():
            self._load_weights(best)
        self._write_model(self.folder)
        return metrics

    def open_log(self) -> Any:
        """Return the log of the run, a context manager; delete what a killed run has left."""
        checkpoint.clear_unfinished(self.folder)
        return TrainingLog(self.folder, self.step, self.config.steps)

    def _train_step(self) -> dict[str, float]:
        """Update the weights once; return what the log shows."""
        batches = [next(self.batches) for _ in range(self.config.accumulation)]
        counts = [self.count(batch) for batch in batches]
        total, scale = max(1, sum(counts)), self.half.scale if self.half else 1.0
        loss = 0.0
        for batch, count in zip(batches, counts, strict=True):
            part = self.loss(self.model, batch)
            if self.half:
                part = part.astype("float32")
            part = part * (count / total)
            with np.errstate(over="ignore", invalid="ignore") if self.half else nullcontext():
                (part * scale).backward()  # in float16 an overflow is expected, and handled
            loss += float(part)
        self._check_finite("loss", loss)
        rate = self.schedule.get_last_lr()[0]
        norm = self._update()
        tokens = sum(int(np.asarray(b["input_ids"]).size) for b in batches)
        return {"loss": loss, "norm": norm, "learning_rate": rate, "tokens": tokens}

    def _update(self) -> float:
        """Clip the gradients, update the weights and the learning rate; return the norm."""
        finite = self.half.collect_gradients() if self.half else True
        weights = [p for group in self.optimizer.param_groups for p in group["params"]]
        limit = self.config.max_grad_norm
        norm = float(clip_grad_norm_(weights, math.inf if limit is None else limit))
        self._check_finite("norm of the gradient", norm)
        if finite:
            self.optimizer.step()
            if self.half:
                self.half.copy_weights()
        self.optimizer.zero_grad()
        self.schedule.step()
        return norm

    def _check_finite(self, name: str, value: float) -> None:
        """Raise FloatingPointError before the weights become infinite or NaN."""
        if not math.isfinite(value) and not self.half:
            raise FloatingPointError(
                f"the {name} is {value} at step {self.step + 1}; try a lower learning rate or a "
                "longer warm-up. The last checkpoint is not affected"
            )

    def _due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    # --- evaluation -----------------------------------------------------------------------------

    def _evaluate(self) -> dict[str, float]:
        """Evaluate the model, and keep it as the best one if it is."""
        assert self.evaluate is not None
        self.model.eval()
        metrics = self.evaluate(self.model)
        name = self.best.removeprefix("-")
        if name not in metrics:
            raise ValueError(f"best must be one of {', '.join(metrics)}, got {name!r}")
        score = -metrics[name] if self.best.startswith("-") else metrics[name]
        score = -math.inf if math.isnan(score) else score
        if self.best_score is None or score > self.best_score:
            self.best_score, self.evaluations_without_gain = score, 0
            self._write_model(self.folder / BEST)
        else:
            self.evaluations_without_gain += 1
        return metrics

    def _praise(self) -> str:
        return " (best so far)" if self.evaluations_without_gain == 0 else ""

    def _should_stop(self) -> bool:
        patience = self.config.patience
        return patience is not None and self.evaluations_without_gain >= patience

    # --- checkpoints ----------------------------------------------------------------------------

    def save_checkpoint(self) -> Path:
        """Write all that is needed to continue after the current step."""
        return checkpoint.write_checkpoint(
            self.folder, self.step, self._write_checkpoint, self.config.keep
        )

    def _write_checkpoint(self, folder: Path) -> None:
        self._write_model(folder)
        arrays = folder / checkpoint.OPTIMIZER_NAME
        if self.extra is not None:
            weights = {name: x.numpy() for name, x in self.extra.state_dict().items()}
            save_file(weights, folder / checkpoint.EXTRA_NAME)
        state = {
            "step": self.step,
            "config": asdict(self.config),
            "optimizer": checkpoint.save_optimizer(arrays, self.optimizer),
            "schedule": self.schedule.state_dict(),
            "batches": self.batches.state_dict(),
            "generators": generator_state(),
            "best_score": self.best_score,
            "evaluations_without_gain": self.evaluations_without_gain,
            "half": self.half.state_dict() if self.half else None,
        }
        checkpoint.write_state(folder, state)

    def resume(self) -> bool:
        """Continue from the newest checkpoint in `folder`; return whether there is one.

        Raises ValueError if the options of the run, apart from how often it logs, saves and
        evaluates, or its data have changed.
        """
        found = checkpoint.checkpoints(self.folder)
        if not found:
            return False
        state = checkpoint.read_state(found[-1])
        if "data" in state:  # the number of data-parallel ranks
            raise ValueError(
                f"{found[-1]} was written by ranks of MPI; resume with mpiexec -n RANKS"
            )
        self._check_config(state["config"])
        if (self.extra is not None) != (found[-1] / checkpoint.EXTRA_NAME).exists():
            had = "no weights" if self.extra is not None else "weights"
            raise ValueError(
                f"the loss had {had} of its own when {found[-1]} was saved; resume with the same "
                "loss, or train in another folder"
            )
        self.batches.load_state_dict(state["batches"])
        self._load_weights(found[-1])
        if self.extra is not None:
            self.extra.load_state_dict(load_file(found[-1] / checkpoint.EXTRA_NAME))
        arrays = found[-1] / checkpoint.OPTIMIZER_NAME
        checkpoint.load_optimizer(arrays, self.optimizer, state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.half:
            self.half.load_state_dict(state["half"])
        set_generator_state(state["generators"])
        self.step = state["step"]
        self.best_score = state["best_score"]
        self.evaluations_without_gain = state["evaluations_without_gain"]
        return True

    def _check_config(self, saved: Mapping[str, Any]) -> None:
        for name, value in asdict(self.config).items():
            if name not in FREE and saved[name] != value:
                raise ValueError(
                    f"{name} was {saved[name]!r} when this run was saved, now it is {value!r}; "
                    "resume with the same value, or train in another folder"
                )

    def _load_weights(self, folder: Path) -> None:
        if self.model.adapters is not None:
            arrays = self.model.adapters.load(self.model, folder)
        else:
            arrays = load_checkpoint(folder)
            missing = self.model.load_state_dict(arrays, strict=False).missing_keys
            lost = [name for name, _ in self.model.named_parameters() if name in missing]
            if lost:
                raise CheckpointError(str(folder), f"lacks the parameter {lost[0]}")
        if self.half:
            self.half.load_weights(arrays)

    def _write_model(self, folder: Path) -> None:
        with self.half.full_precision() if self.half else nullcontext():
            self.model.save_pretrained(folder)
        self.save(folder)


def task_trainer(
    model: PreTrainedModel,
    task: Any,
    batches: Batches,
    held_out: Any,
    config: TrainingConfig,
    folder: str | os.PathLike[str],
    tokenizer: Any,
    report: Callable[[str], object] = lambda line: None,
) -> Trainer:
    """Return the trainer of a model for a task: its loss, and its metrics on `held_out`, if given.

    Args:
        task: a `Task`, or the objective of a language model.
        batches: of the task.
        tokenizer: is saved with the model.
    """
    return Trainer(
        model,
        batches,
        config,
        folder,
        evaluate=None if held_out is None else lambda model: task.evaluate(model, held_out),
        best=task.best,
        loss=task.loss,
        count=task.count,
        save=tokenizer.save_pretrained,
        report=report,
        extra=getattr(task, "projection", None),
    )


def readable(metrics: Mapping[str, float]) -> str:
    """Return metrics as a line of text."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items())
