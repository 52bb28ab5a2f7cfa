"""`Task`: how one kind of fine-tuning reads its examples and computes its metrics.

A task turns rows of a file into examples, examples into batches, and the model's outputs into
metrics. Model, loss and training loop are the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tinybert.autograd import no_grad
from tinybert.checks import check_integer
from tinybert.pipelines.base import evaluation
from tinybert.training.batches import Batch
from tinybert.training.readers import Row

Example = dict[str, Any]  # the model's inputs, lists of T numbers, and its labels


class Task:
    """The base of all tasks.

    Args:
        tokenizer: the model's tokenizer.
        max_length: texts are truncated to this number of tokens.

    Attributes:
        labels: the names of the classes, in the order of the model's outputs; empty for a task
            without classes.

    Attributes, of the class:
        name: on the command line.
        auto: the Auto class that makes its models.
        columns: what a row must have.
        best: the metric that chooses the best checkpoint; "-" before it if less is better.
        options: the further arguments of its constructor.
        padding: for labels with a value for each token, the value for padding.
    """

    name: ClassVar[str]
    auto: ClassVar[Any]
    columns: ClassVar[tuple[str, ...]]
    best: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()
    padding: ClassVar[dict[str, Any]] = {}

    def __init__(self, tokenizer: Any, max_length: int = 128) -> None:
        check_integer("max_length", max_length, 1)
        self.tokenizer, self.max_length = tokenizer, max_length
        self.labels: list[str] = []

    # --- what a task defines --------------------------------------------------------------------

    def learn_labels(self, rows: Sequence[Row]) -> None:
        """Find the names of the classes in the training data; nothing by default."""

    def config(self) -> dict[str, Any]:
        """Return the options that the task sets in the model's config."""
        return {"num_labels": len(self.labels), "id2label": dict(enumerate(self.labels))}

    def encode(self, row: Row) -> list[Example]:
        """Return the examples of a row: one, or one for each window of a long text."""
        raise NotImplementedError

    def metrics(
        self, outputs: list[dict[str, np.ndarray]], batches: list[Batch]
    ) -> dict[str, float]:
        """Compare the outputs of all batches with their labels."""
        raise NotImplementedError

    # --- what they share ------------------------------------------------------------------------

    def collate(self, examples: list[Example], rng: np.random.Generator | None = None) -> Batch:
        """Make one batch of arrays, padded to the length of the longest example."""
        names = self.tokenizer.model_input_names
        inputs = [{n: e[n] for n in names if n in e} for e in examples]
        batch = dict(self.tokenizer.pad(inputs, padding=True, return_tensors="np"))
        length = batch["input_ids"].shape[-1]
        for name in examples[0].keys() - batch.keys():
            rows = [example[name] for example in examples]
            if name in self.padding:
                rows = [
                    pad(row, length, self.padding[name], self.tokenizer.padding_side)
                    for row in rows
                ]
            batch[name] = np.array(rows)
        return batch

    def evaluate(self, model: Any, rows: Sequence[Row], batch_size: int = 32) -> dict[str, float]:
        """Return the mean loss and the metrics of a model on labelled rows."""
        examples = [example for row in rows for example in self.encode(row)]
        examples.sort(key=lambda example: len(example["input_ids"]))  # less padding
        batches, outputs, losses = [], [], []
        with no_grad(), evaluation(model):
            for start in range(0, len(examples), batch_size):
                batch = self.collate(examples[start : start + batch_size])
                output = model(**batch)
                losses.append(float(output.loss) * self.count(batch))
                outputs.append({k: v.numpy() for k, v in output.items() if k.endswith("logits")})
                batches.append(batch)
        total = sum(self.count(batch) for batch in batches)
        return {"loss": sum(losses) / total, **self.metrics(outputs, batches)}

    def count(self, batch: Batch) -> int:
        """Return the number of labels that the loss is the mean of."""
        return len(batch["input_ids"])


def chosen_and_labels(
    outputs: list[dict[str, np.ndarray]], batches: list[Batch]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the most likely class and the label of each example: (N,), (N,)."""
    chosen = np.concatenate([output["logits"].argmax(axis=1) for output in outputs])
    return chosen, np.concatenate([batch["labels"] for batch in batches])


def pad(row: Sequence[Any], length: int, value: Any, side: str) -> list[Any]:
    """Return a row with `value` added at a side until it has `length` elements."""
    extra = [value] * (length - len(row))
    return [*row, *extra] if side == "right" else [*extra, *row]
