"""Classify a text or a pair of texts: one class, several classes, or a number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinybert.checks import check_choice
from tinybert.models import AutoModelForSequenceClassification
from tinybert.training import metrics
from tinybert.training.examples import Example
from tinybert.training.readers import Row
from tinybert.training.tasks.base import SEPARATOR, Answer, Task

# The kinds, each with the name that a model's config has for it.
KINDS = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}


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
    optional = ("text_pair",)
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
        return {**super().config(), "problem_type": KINDS[self.kind]}

    def encode(self, row: Row) -> list[Example]:
        encoded = self.tokenizer(
            row["text"], row.get("text_pair"), truncation=True, max_length=self.max_length
        )
        return [{**encoded, "labels": self._number(row["label"])}]

    def _names(self, label: Any) -> list[str]:
        if self.kind == "single":
            return [str(label)]
        names = label if isinstance(label, list) else str(label).split(SEPARATOR)
        return [name for name in map(str, names) if name]

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

    def answer(self, logits: list[np.ndarray], labels: list[Any]) -> Answer:
        (scores,), (label,) = logits, labels
        if self.kind == "regression":
            return {"label": float(label), "prediction": float(scores[0])}
        if self.kind == "multi":
            chances = 1 / (1 + np.exp(-scores.astype(np.float64)))
            return {
                "label": [name for name, one in zip(self.labels, label, strict=True) if one],
                "prediction": [n for n, x in zip(self.labels, chances, strict=True) if x > 0.5],
                "score": dict(zip(self.labels, chances.round(6).tolist(), strict=True)),
            }
        answer = super().answer(logits, labels)
        return {**answer, **{key: self.labels[answer[key]] for key in ("label", "prediction")}}

    def metrics(self, predictions: list[Any], labels: list[Any]) -> dict[str, float]:
        if self.kind == "regression":
            return {
                "mse": float(np.mean((np.array(predictions) - np.array(labels)) ** 2)),
                "pearson": metrics.pearson(predictions, labels),
                "spearman": metrics.spearman(predictions, labels),
            }
        if self.kind == "multi":
            chosen, right = (
                [[name in names for name in self.labels] for names in rows]
                for rows in (predictions, labels)
            )
            return {
                "f1": metrics.f1(chosen, right, "micro"), "macro_f1": metrics.f1(chosen, right)
            }  # fmt: skip
        return {**super().metrics(predictions, labels), "f1": metrics.f1(predictions, labels)}

    def decisions(self, prediction: Any) -> Iterable[tuple[Any, ...]]:
        if self.kind == "regression":
            return ()
        return [(name,) for name in ([prediction] if self.kind == "single" else prediction)]


def kind_of(config: Any) -> str:
    """Return the kind of a trained model: its `problem_type`, or what its loss would guess."""
    kinds = {problem: kind for kind, problem in KINDS.items()}
    return kinds.get(config.problem_type, "regression" if config.num_labels == 1 else "single")
