"""Which class, which classes, or what number belongs to a text?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tinybert.models import AutoModelForSequenceClassification
from tinybert.models.heads import SequenceClassification
from tinybert.pipelines.base import (
    PAIR,
    OnePassPipeline,
    Outputs,
    Row,
    Settings,
    check_whole,
    softmax,
)

FUNCTIONS = ("softmax", "sigmoid", "none")
UNSET = object()  # None is a value of top_k


class TextClassificationPipeline(OnePassPipeline):
    """Gives a text its class.

        pipeline("text-classification", folder)("I love this.")

    An input is a str, or {"text": str, "text_pair": str}.

    Options of a call:
        top_k: give the k classes with the highest scores, None for all of them.
        function_to_apply: "softmax", "sigmoid" or "none" makes scores of the logits. By default
            what the config's `problem_type` asks for: "none" for a regression, sigmoid for several
            classes at once and for a single label, else softmax.
        truncation, max_length, padding: of the tokenizer, as are add_special_tokens and stride.

    Returns a dict with `label` and `score` for each text. As in transformers, the dict stands in a
    list if the input was a single str; a top_k gives a list of dicts, best first, for every text,
    and if it was given when the pipeline was made, a single str's stands in a list once more.
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
        """A list of dicts; see the class."""
        result = super().__call__(inputs, **options)
        return [result] if isinstance(inputs, str) and "top_k" not in options else result

    def check(self, settings: Settings) -> None:
        if settings["top_k"] is not UNSET:
            check_whole("top_k", settings["top_k"], optional=True)
        function = settings["function_to_apply"]
        if function is not None and function not in FUNCTIONS:
            raise ValueError(
                f"function_to_apply must be one of {', '.join(FUNCTIONS)}, got {function!r}"
            )

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
        found = [{"label": names[int(i)], "score": float(scores[i])} for i in order]
        return found[0] if top_k is UNSET else found

    def _scores(self, logits: np.ndarray, function: str | None) -> np.ndarray:
        """Logits (N,) to scores (N,)."""
        if function is None:
            kind = self.model.config.problem_type
            if kind == "regression":
                function = "none"
            else:
                several = kind == "multi_label_classification" or len(logits) == 1
                function = "sigmoid" if several else "softmax"
        if function == "softmax":
            return softmax(logits)
        if function == "sigmoid":
            return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))  # never overflows
        return logits
