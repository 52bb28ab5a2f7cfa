"""Multiple choice: find the best of several continuations of a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tinybert.models import AutoModelForMultipleChoice
from tinybert.models.heads import MultipleChoice
from tinybert.pipelines.base import OnePassPipeline, Outputs, Row, Settings, softmax


class MultipleChoicePipeline(OnePassPipeline):
    """Scores several continuations of a prompt.

        pipeline("multiple-choice", folder)(
            {"prompt": "A pizza is eaten", "choices": ["with the hands.", "with a hammer."]}
        )

    Options of a call:
        truncation, max_length: cut a prompt with choice that is longer than the model's limit.

    Returns a list of dicts with `choice`, `index` (in the list of choices, from 0) and `score` (the
    probability), most likely first.
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
        # The head scores each choice separately. Here each row is a prompt's only choice (B, 1, T)
        # and gets its logit (B, 1), so one batch can hold the choices of several prompts.
        return self.model(**{name: array[:, None] for name, array in inputs.items()})

    def result(self, item: Any, rows: list[Row], outputs: list[Outputs], settings: Settings) -> Any:
        scores = softmax(np.concatenate([output["logits"] for output in outputs]))  # (C,)
        order = np.argsort(-scores, kind="stable")
        return [
            {"choice": item["choices"][i], "index": int(i), "score": float(scores[i])}
            for i in order
        ]
