"""`Task`: how one kind of fine-tuning reads its examples and computes its metrics.

A task turns rows of a file into examples, examples into batches, and the model's outputs into
metrics. Model, loss and training loop are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from tinybert.autograd import no_grad
from tinybert.checks import check_integer
from tinybert.pipelines.base import evaluation
from tinybert.progress import progress_bar
from tinybert.training import metrics
from tinybert.training.batches import Batch, Batches
from tinybert.training.examples import EncodedExamples, Example
from tinybert.training.losses import model_loss
from tinybert.training.readers import Row

SEPARATOR = "|"  # between the texts of a list, in a CSV file
Answer = dict[str, Any]  # "label" and "prediction" of a row, and perhaps "score"
Record = Callable[[Answer], object]


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
        optional: what a row may have.
        best: the metric that chooses the best checkpoint; "-" before it if less is better.
        options: the further arguments of its constructor.
        padding: for labels with a value for each token, the value for padding.
    """

    name: ClassVar[str]
    auto: ClassVar[Any]
    columns: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()
    best: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()
    padding: ClassVar[dict[str, Any]] = {}
    loss = staticmethod(model_loss)

    def __init__(self, tokenizer: Any, max_length: int = 128) -> None:
        check_integer("max_length", max_length, 1)
        self.tokenizer, self.max_length = tokenizer, max_length
        self.labels: list[str] = []

    # --- what a task defines --------------------------------------------------------------------

    def learn_labels(self, rows: Sequence[Row]) -> None:
        """Find the names of the classes in the training data; nothing by default."""

    def read_labels(self, config: Any) -> None:
        """Take the names of the classes from the config of a trained model.

        A model without names (LABEL_0, LABEL_1, ...) has the classes "0", "1", ...
        """
        self.labels = [config.id2label[i] for i in range(config.num_labels)]
        if self.labels == [f"LABEL_{i}" for i in range(config.num_labels)]:
            self.labels = [str(i) for i in range(config.num_labels)]

    def config(self) -> dict[str, Any]:
        """Return the options that the task sets in the model's config."""
        return {"num_labels": len(self.labels), "id2label": dict(enumerate(self.labels))}

    def encode(self, row: Row) -> list[Example]:
        """Return the examples of a row: one, or one for each window of a long text."""
        raise NotImplementedError

    def answer(self, logits: list[np.ndarray], labels: list[Any]) -> Answer:
        """Return what the model answers to a row, from the logits and labels of its windows."""
        (scores,), (label,) = logits, labels
        chosen = int(scores.argmax())
        score = round(float(softmax(scores)[chosen]), 6)
        return {"label": int(label), "prediction": chosen, "score": score}

    def metrics(self, predictions: list[Any], labels: list[Any]) -> dict[str, float]:
        """Compare the predictions of all rows with their labels."""
        return {"accuracy": metrics.accuracy(predictions, labels)}

    def decisions(self, prediction: Any) -> Iterable[tuple[Any, ...]]:
        """Return the decisions in the prediction of a row, tuples that begin with a class; none
        for a task without classes.
        """
        return ()

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

    def batches(self, examples: EncodedExamples, batch_size: int, seed: int) -> Batches:
        """Return the batches of labelled rows."""
        return Batches(examples, self.collate, batch_size, seed)

    @property
    def all_columns(self) -> tuple[str, ...]:
        """What a row must or may have."""
        return (*self.columns, *self.optional)

    def evaluate(
        self,
        model: Any,
        data: Sequence[Row] | EncodedExamples,
        batch_size: int = 32,
        record: Record | None = None,
    ) -> dict[str, float]:
        """Return the mean loss and the metrics of a model on labelled rows.

        record: called with the answer to each row, in their order.
        """
        examples = self.encoded(data)
        found: list[Any] = [None] * len(examples)  # logits and label of each example
        loss = total = 0.0
        order = np.argsort(examples.lengths, kind="stable")  # less padding
        with (
            no_grad(), evaluation(model),
            progress_bar("evaluating", len(examples), " examples") as advance,
        ):  # fmt: skip
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size].tolist()
                batch = self.collate([examples[i] for i in chosen])
                output = model(**batch)
                count = self.count(batch)
                loss, total = loss + float(output.loss) * count, total + count
                pairs = zip(output.logits.numpy(), batch["labels"], strict=True)
                for i, pair in zip(chosen, pairs, strict=True):
                    found[i] = pair
                advance(len(chosen))
        starts = np.searchsorted(examples.row_numbers, np.arange(len(examples.rows) + 1))
        answers = [
            self.answer(*map(list, zip(*found[first:last], strict=True)))
            for first, last in pairwise(starts.tolist())
        ]
        if record:
            for answer in answers:
                record(answer)
        return {
            "loss": loss / total,
            **self.metrics([a["prediction"] for a in answers], [a["label"] for a in answers]),
        }

    def encoded(self, data: Sequence[Row] | EncodedExamples) -> EncodedExamples:
        """Return the examples of rows, unless they are examples already."""
        return data if isinstance(data, EncodedExamples) else EncodedExamples(self, data)

    def count(self, batch: Batch) -> int:
        """Return the number of labels that the loss is the mean of."""
        return len(batch["input_ids"])


def texts_of(row: Row, name: str, separator: str | None) -> list[str]:
    """Return a column with a list of texts; in a CSV file it is one text, with a separator."""
    value = row[name]
    if isinstance(value, str):
        return value.split(separator)
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list or a text, got {value!r:.60}")
    return list(map(str, value))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the probabilities (..., C) of C classes."""
    powers = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def pad(row: Sequence[Any], length: int, value: Any, side: str) -> list[Any]:
    """Return a row with `value` added at a side until it has `length` elements."""
    extra = [value] * (length - len(row))
    return [*row, *extra] if side == "right" else [*extra, *row]
