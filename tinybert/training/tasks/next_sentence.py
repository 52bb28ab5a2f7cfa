"""Next sentence prediction: does the second text follow the first?"""

from __future__ import annotations

from typing import Any

from tinybert.checks import check_choice
from tinybert.models import AutoModelForNextSentencePrediction
from tinybert.training.examples import Example
from tinybert.training.readers import Row
from tinybert.training.tasks.base import Task


class NextSentence(Task):
    """A row has "text", "text_pair" and "label": 0 if the second text follows the first, 1 if it
    does not (BERT's convention).
    """

    name = "next-sentence"
    auto = AutoModelForNextSentencePrediction
    columns = ("text", "text_pair", "label")
    best = "accuracy"

    def config(self) -> dict[str, Any]:
        return {}

    def encode(self, row: Row) -> list[Example]:
        check_choice("label", str(row["label"]), ("0", "1"))
        encoded = self.tokenizer(
            row["text"], row["text_pair"], truncation=True, max_length=self.max_length
        )
        return [{**encoded, "labels": int(row["label"])}]
