"""Which of several continuations is the right one?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tinybert.models import AutoModelForMultipleChoice
from tinybert.models.heads import MultipleChoice
from tinybert.pipelines.base import OnePassPipeline, Outputs, Row, Settings, softmax


class MultipleChoicePipeline(OnePassPipeline):
    """Chooses among continuations of a prompt.

        pipeline("multiple-choice", folder)(
            {"prompt": "A pizza is eaten", "choices": ["with the hands.", "with a hammer."]}
        )

    Options of a call:
        truncation, max_length: cut a prompt and choice that are too long for the model.

    Returns a list of dicts with `choice`, `index` (its place among the choices, from 0) and `score`
    (its probability among them), the best one first.
    """

    task = "multiple-choice"
    model_class = MultipleChoice
    auto_class = AutoModelForMultipleChoice
    defaults: ClassVar[Settings] = {"truncation": None, "max_length": None}

    def rows(self, item: Any, settings: Settings) -> list[Row]:
        if not (
            isinstance(item, Mapping)
            and set(item) == {"prompt", "choices"}
            and isinstance(item["prompt"], str)
            and isinstance(item["choices"], (list, tuple))
            and all(isinstance(choice, str) for choice in item["choices"])
            and item["choices"]
        ):
            raise ValueError(
                'multiple-choice takes {"prompt": str, "choices": [str, ...]} or a list of such, '
                f"got {item!r}"
            )
        return [self.row(item["prompt"], choice, **settings) for choice in item["choices"]]

    def call_model(self, inputs: dict[str, np.ndarray]) -> Any:
        # The head reads every choice by itself, so that rows of any prompts share a batch: each is
        # the only choice (B, 1, T) there, and gets its logit (B, 1).
        return self.model(**{name: array[:, None] for name, array in inputs.items()})

    def result(self, item: Any, rows: list[Row], outputs: list[Outputs], settings: Settings) -> Any:
        scores = softmax(np.concatenate([output["logits"] for output in outputs]))  # (C,)
        order = np.argsort(-scores, kind="stable")
        return [
            {"choice": item["choices"][i], "index": int(i), "score": float(scores[i])}
            for i in order
        ]
