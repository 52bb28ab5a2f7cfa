"""Text classification: one label, several labels, or a regression value for a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tinybert.checks import check_choice, check_integer
from tinybert.models import AutoModelForSequenceClassification
from tinybert.models.heads import SequenceClassification
from tinybert.pipelines.base import PAIR, OnePassPipeline, Outputs, Row, Settings, softmax

FUNCTIONS = ("softmax", "sigmoid", "none")
UNSET = object()  # None is a value of top_k


class TextClassificationPipeline(OnePassPipeline):
    """Classifies texts or pairs of texts.

        pipeline("text-classification", folder)("I love this.")

    An input is a str, or {"text": str, "text_pair": str}.

    Options of a call:
        top_k: return the k labels with the highest scores; None returns all labels.
        function_to_apply: "softmax", "sigmoid" or "none": how logits become scores. The default
            depends on the config's `problem_type`: "none" for regression, "sigmoid" for
            multi-label classification and for a single label, else "softmax".
        truncation, max_length, padding, add_special_tokens, stride: options of the tokenizer.

    Returns a dict with `label` and `score` for each text. As in transformers, a single str gives a
    list with this dict; with top_k every text gives a list of dicts, highest score first; and if
    top_k was an option of the pipeline, a single str gives a list with this list.
    """

    task = "text-classification"
    model_class = SequenceClassification
    auto_class = AutoModelForSequenceClassification
    defaults: ClassVar[Settings] = {
        "top_k": UNSET,
        "function_to_apply": None,
        "truncation": None,
        "max_length": None,
        "padding": False,
        "add_special_tokens": True,
        "stride": 0,
    }

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Return a list of dicts; see the class."""
        result = super().__call__(inputs, **options)
        return [result] if isinstance(inputs, str) and "top_k" not in options else result

    def check(self, settings: Settings) -> None:
        if settings["top_k"] is not UNSET:
            check_integer("top_k", settings["top_k"], 1, optional=True)
        if settings["function_to_apply"] is not None:
            check_choice("function_to_apply", settings["function_to_apply"], FUNCTIONS)

    def rows(self, item: Any, settings: Settings) -> list[Row]:
        if isinstance(item, Mapping) and "text" in item and set(item) <= set(PAIR):
            texts = dict(item)
        elif isinstance(item, str):
            texts = {"text": item}
        else:
            raise ValueError(
                'text-classification takes a str, {"text": str, "text_pair": str}, or a list of '
                f"either; got {item!r}"
            )
        names = ("truncation", "max_length", "padding", "add_special_tokens", "stride")
        return [self.row(**texts, **{name: settings[name] for name in names})]

    def result(self, item: Any, rows: list[Row], outputs: list[Outputs], settings: Settings) -> Any:
        scores = self._scores(outputs[0]["logits"], settings["function_to_apply"])
        names, top_k = self.model.config.id2label, settings["top_k"]
        order = np.argsort(-scores, kind="stable")[: 1 if top_k is UNSET else top_k]
        labels = [{"label": names[int(i)], "score": float(scores[i])} for i in order]
        return labels[0] if top_k is UNSET else labels

    def _scores(self, logits: np.ndarray, function: str | None) -> np.ndarray:
        """Compute scores (N,) from logits (N,)."""
        if function is None:
            problem = self.model.config.problem_type
            if problem == "regression":
                function = "none"
            else:
                multi_label = problem == "multi_label_classification" or len(logits) == 1
                function = "sigmoid" if multi_label else "softmax"
        if function == "softmax":
            return softmax(logits)
        if function == "sigmoid":
            return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))  # never overflows
        return logits
