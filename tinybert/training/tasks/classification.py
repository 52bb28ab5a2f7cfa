"""Classify a text or a pair of texts: one class, several classes, or a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinybert.checks import check_choice
from tinybert.models import AutoModelForSequenceClassification
from tinybert.training import metrics
from tinybert.training.batches import Batch
from tinybert.training.readers import Row
from tinybert.training.tasks.base import Example, Task, chosen_and_labels

KINDS = ("single", "multi", "regression")
SEPARATOR = "|"  # between the classes of a text, in a CSV file


class Classification(Task):
    """A class, a set of classes, or a number for each text.

    A row has "text", "label" and perhaps "text_pair". The label is a name, for kind "multi" a list
    of names (or names joined by "|"), for kind "regression" a number.

    Args:
        kind: "single", "multi" or "regression".
    """

    name = "classification"
    auto = AutoModelForSequenceClassification
    columns = ("text", "label")
    options = ("kind",)

    def __init__(self, tokenizer: Any, max_length: int = 128, kind: str = "single") -> None:
        super().__init__(tokenizer, max_length)
        check_choice("kind", kind, KINDS)
        self.kind = kind

    @property
    def best(self) -> str:  # type: ignore[override]
        return {"single": "accuracy", "multi": "f1", "regression": "pearson"}[self.kind]

    def learn_labels(self, rows: Sequence[Row]) -> None:
        if self.kind == "regression":
            self.labels = ["score"]
        else:
            self.labels = sorted({name for row in rows for name in self._names(row["label"])})

    def config(self) -> dict[str, Any]:
        problem = {"single": "single_label_classification", "multi": "multi_label_classification"}
        return {**super().config(), "problem_type": problem.get(self.kind, "regression")}

    def encode(self, row: Row) -> list[Example]:
        encoded = self.tokenizer(
            row["text"], row.get("text_pair"), truncation=True, max_length=self.max_length
        )
        return [{**encoded, "labels": self._number(row["label"])}]

    def _names(self, label: Any) -> list[str]:
        if self.kind == "single":
            return [str(label)]
        names = label if isinstance(label, list) else str(label).split(SEPARATOR)
        return [str(name) for name in names if str(name)]

    def _number(self, label: Any) -> Any:
        """Return the label as the loss needs it."""
        if self.kind == "regression":
            try:
                return float(label)
            except (TypeError, ValueError):
                raise ValueError(f"label must be a number for regression, got {label!r}") from None
        known = {name: number for number, name in enumerate(self.labels)}
        names = self._names(label)
        for name in names:
            check_choice("label", name, known)
        if self.kind == "single":
            return known[names[0]]
        return [float(name in names) for name in self.labels]

    def metrics(
        self, outputs: list[dict[str, np.ndarray]], batches: list[Batch]
    ) -> dict[str, float]:
        logits = np.concatenate([output["logits"] for output in outputs])
        labels = np.concatenate([batch["labels"] for batch in batches])
        if self.kind == "regression":
            scores = logits[:, 0]
            error = float(((scores - labels) ** 2).mean())
            return {
                "mse": error,
                "pearson": metrics.pearson(scores, labels),
                "spearman": metrics.spearman(scores, labels),
            }
        if self.kind == "multi":
            chosen = logits > 0  # a probability above 1/2
            return {
                "f1": metrics.f1(chosen, labels, "micro"),
                "macro_f1": metrics.f1(chosen, labels),
            }
        pair = chosen_and_labels(outputs, batches)
        return {"accuracy": metrics.accuracy(*pair), "f1": metrics.f1(*pair)}
