"""Next-sentence prediction: whether the second text follows the first."""

from __future__ import annotations

from typing import Any, ClassVar

from tinybert.models import AutoModelForNextSentencePrediction
from tinybert.models.heads import NextSentencePrediction
from tinybert.pipelines.base import OnePassPipeline, Outputs, Row, Settings, softmax, text_and_pair

LABELS = ("is_next", "not_next")  # the classes of BERT's head, in order


class NextSentencePipeline(OnePassPipeline):
    """Predicts whether the second text of a pair follows the first (Devlin et al. 2018, task 2).

        pipeline("next-sentence", folder)(("He went to the shop.", "He bought some milk."))

    An input is a tuple of two str, or {"text": str, "text_pair": str}.

    Options of a call:
        truncation, max_length: cut a pair that is longer than the model's limit.

    Returns a list of two dicts with `label` ("is_next" or "not_next") and `score` (the
    probability), most likely first.
    """

    task = "next-sentence"
    model_class = NextSentencePrediction
    auto_class = AutoModelForNextSentencePrediction
    defaults: ClassVar[Settings] = {"truncation": None, "max_length": None}

    def rows(self, item: Any, settings: Settings) -> list[Row]:
        return [self.row(*text_and_pair(self.task, item), **settings)]

    def result(self, item: Any, rows: list[Row], outputs: list[Outputs], settings: Settings) -> Any:
        scores = softmax(outputs[0]["logits"])  # (2,)
        results = [
            {"label": label, "score": float(score)}
            for label, score in zip(LABELS, scores, strict=True)
        ]
        return sorted(results, key=lambda entry: -entry["score"])
