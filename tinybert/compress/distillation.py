"""`Distillation`: train a language model (the student) to match the output probabilities of a
larger one (the teacher).

The teacher's probabilities (soft targets) tell the student which other tokens are likely, not only
the correct one. With p the probabilities of the teacher's logits divided by a temperature t, and q
those of the student's:

    L_logits = t^2 * mean(KL(p, q)),     KL(p, q) = sum_v p_v (log p_v - log q_v)
    L_hidden = mean over pairs of layers of mean((h W - h')^2)
    L_embeddings = the same of the embeddings
    loss     = logits * L_logits + labels * L_labels
               + hidden * (L_logits / L_hidden) * L_hidden + (the same of the embeddings)

h are the hidden states of a layer of the student, h' those of a layer of the teacher: without
`pairs` that at the same share of the depth, for each layer of the student. Where their widths
differ, W is learned, one for all layers; it is not a part of the student. The ratio of the losses
counts as a constant: with a weight of 1 hidden states and logits have the same loss, and different
gradients. An L below 1e-7 counts as 1e-7 in the ratio.

Source   Hinton, Vinyals and Dean 2015, arXiv:1503.02531 (temperature; with t^2 the gradient stays
         of the same size); Muralidharan et al. 2024, arXiv:2407.14679, section 3 (hidden states,
         and the ratio of the losses). The paper finds logits alone best, unless many layers were
         pruned; they are the default here.
Shapes   N tokens to predict, V vocabulary, B batch, T tokens, D hidden
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor, no_grad, set_default_device, set_default_dtype
from tinybert.checks import check_number, is_integer
from tinybert.nn import Linear, Module
from tinybert.pipelines.base import evaluation
from tinybert.training import TrainingConfig
from tinybert.training.batches import Batch, Batches
from tinybert.training.language_modeling import LanguageModeling
from tinybert.training.masking import IGNORED
from tinybert.training.token_file import TokenFile
from tinybert.training.trainer import task_trainer


class Distillation:
    """Language modeling with a teacher, for masked words or the next token.

    It has the parts of `LanguageModeling` that a `Trainer` needs, and its metrics.

    Args:
        task: the language modeling: its objective is "masked" or "causal".
        teacher, student: models with a score for every token of the same vocabulary, of any family.
        temperature: t.
        logits, labels, hidden, embeddings: the weights of the parts of the loss.
        pairs: (teacher layer, student layer) whose hidden states are compared, counted from 1, 0
            for the embeddings; None for those of `layer_pairs`.

    Attributes:
        projection: W; None if it is not needed. `Trainer(extra=...)` trains it.
    """

    def __init__(
        self,
        task: LanguageModeling,
        teacher: Any,
        student: Any,
        temperature: float = 1.0,
        logits: float = 1.0,
        labels: float = 0.0,
        hidden: float = 0.0,
        embeddings: float = 0.0,
        pairs: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        weights = {"logits": logits, "labels": labels, "hidden": hidden, "embeddings": embeddings}
        for name, weight in weights.items():
            check_number(name, weight)
        check_number("temperature", temperature)
        if temperature == 0:
            raise ValueError("temperature must be above 0, got 0")
        if not any(weights.values()):
            raise ValueError(f"one of the weights {', '.join(weights)} must be above 0")
        if task.objective not in ("masked", "causal"):
            raise ValueError(
                f"the objective must be 'masked' or 'causal' with a teacher, got {task.objective!r}"
            )
        sizes = [model.config.vocab_size for model in (teacher, student)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                "teacher and student must have the same vocabulary, got "
                f"{sizes[0]:,} and {sizes[1]:,} tokens"
            )
        for model in (teacher, student):
            task.check_model(model)
        self.task, self.teacher, self.temperature, self.weights = (
            task, teacher, temperature, weights,
        )  # fmt: skip
        self.objective, self.best = task.objective, task.best
        self.count, self.evaluate = task.count, task.evaluate
        depths = [model.config.num_hidden_layers for model in (teacher, student)]
        self.pairs = layer_pairs(*depths) if pairs is None else _checked(pairs, depths, hidden)
        wide, narrow = (model.config.hidden_size for model in (teacher, student))
        self.projection: Module | None = None
        if wide != narrow and (hidden or embeddings):
            with set_default_device(student.device), set_default_dtype(student.dtype):
                self.projection = Linear(narrow, wide, bias=False)

    def batches(self, tokens: TokenFile, batch_size: int, seed: int) -> Batches:
        """Return the batches of a corpus: those of the task."""
        return self.task.batches(tokens, batch_size, seed)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return the loss of a batch. The teacher runs once, without a graph."""
        with no_grad(), evaluation(self.teacher):
            expected, target_states = self._run(self.teacher, batch)
        logits, states = self._run(model, batch)
        t, weights = self.temperature, self.weights
        expected = expected.to(logits.device).astype(logits.dtype)
        base = F.kl_div(
            (logits / t).log_softmax(-1), (expected / t).log_softmax(-1), "batchmean", True
        ) * (t * t)
        loss = base * weights["logits"]
        if weights["labels"]:
            places = self._places(batch)
            words = as_tensor(batch["labels"][places[0], places[1] + self._shift])
            loss = loss + F.cross_entropy(logits, words.to(logits.device)) * weights["labels"]
        for name, pairs in (("hidden", self.pairs), ("embeddings", [(0, 0)])):
            if weights[name]:
                part = self._distance(states, target_states, pairs, batch)
                ratio = float(base) / max(float(part), float(np.finfo(np.float32).eps))
                loss = loss + part * (weights[name] * ratio)
        return loss

    def _run(self, model: Any, batch: Batch) -> tuple[Tensor, Any]:
        """Return the logits (N, V) of the tokens to predict, and the hidden states if needed."""
        inputs = {name: x for name, x in batch.items() if name != "labels"}
        needed = bool(self.weights["hidden"] or self.weights["embeddings"])
        output = model.base_model(**inputs, use_cache=False, output_hidden_states=needed)
        return model.word_logits(output.last_hidden_state[self._places(batch)]), output.get(
            "hidden_states"
        )

    @property
    def _shift(self) -> int:
        """How far a token to predict is behind the position that predicts it."""
        return 1 if self.objective == "causal" else 0

    def _places(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and positions (N,) whose output predicts a token."""
        rows, columns = np.nonzero(batch["labels"][:, self._shift :] != IGNORED)
        return rows, columns

    def _distance(self, states: Any, targets: Any, pairs: Any, batch: Batch) -> Tensor:
        """Return the mean squared difference of pairs of hidden states, without padding."""
        mask = batch.get("attention_mask", batch["labels"] != IGNORED)
        real = np.nonzero(mask)
        total: Any = 0
        for theirs, ours in pairs:
            x, target = states[ours][real], targets[theirs][real]  # (N, D)
            if self.projection is not None:
                x = self.projection(x)
            total = total + F.mse_loss(x, target.to(x.device).astype(x.dtype))
        return total / len(pairs)


def _checked(
    pairs: Sequence[tuple[int, int]], depths: list[int], hidden: float
) -> list[tuple[int, int]]:
    """Return the pairs. Raises ValueError for layers that the models do not have."""
    if not hidden:
        raise ValueError("pairs need hidden above 0, the weight of the states that they choose")
    wrong = [
        pair for pair in pairs
        if len(pair) != 2
        or not all(is_integer(i) and 0 <= i <= n for i, n in zip(pair, depths, strict=True))
    ]  # fmt: skip
    if wrong or not pairs:
        raise ValueError(
            "pairs must be layers of the teacher and the student, from 0:0 to "
            f"{depths[0]}:{depths[1]}, got {':'.join(map(str, wrong[0])) if wrong else 'none'}"
        )
    return list(pairs)


def layer_pairs(teacher: int, student: int) -> list[tuple[int, int]]:
    """Return (teacher layer, student layer) pairs at the same relative depth, as indices into
    `hidden_states`, where 0 is the embeddings. The last layers form a pair.
    """
    return [(round(layer * teacher / student), layer) for layer in range(1, student + 1)]


def distill(
    student: Any,
    teacher: Any,
    task: LanguageModeling,
    tokens: TokenFile,
    config: TrainingConfig,
    folder: str | Path,
    batch_size: int = 32,
    held_out: TokenFile | None = None,
    **options: Any,
) -> dict[str, float]:
    """Train a student in place, save it in a folder, and return the last metrics.

    Args:
        student, teacher, task: see `Distillation`, which also has the `options`.
        tokens, held_out: the text to train on, and the text to evaluate on.
        config, folder: see `Trainer`.
    """
    distillation = Distillation(task, teacher, student, **options)
    batches = distillation.batches(tokens, batch_size, config.seed)
    return task_trainer(
        student, distillation, batches, held_out, config, folder, task.tokenizer
    ).train()
