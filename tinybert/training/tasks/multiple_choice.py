"""Multiple choice: choose the continuation or the answer that fits a text."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.checks import check
from tinybert.models import AutoModelForMultipleChoice
from tinybert.training.batches import Batch
from tinybert.training.examples import Example
from tinybert.training.readers import Row
from tinybert.training.tasks.base import SEPARATOR, Task, texts_of


class MultipleChoice(Task):
    """One of C choices for each text; all rows have the same number of choices.

    A row has "text", "choices" (a list of C texts, or one text with "|" between them) and "label",
    the index of the right one, from 0.
    """

    name = "multiple-choice"
    auto = AutoModelForMultipleChoice
    columns = ("text", "choices", "label")
    best = "accuracy"

    def config(self) -> dict[str, Any]:
        return {}

    def encode(self, row: Row) -> list[Example]:
        choices, text = texts_of(row, "choices", SEPARATOR), str(row["label"])
        label = int(text) if text.isdecimal() else -1
        check("label", row["label"], 0 <= label < len(choices), f"from 0 to {len(choices) - 1}")
        encoded = self.tokenizer(
            [row["text"]] * len(choices), choices, truncation=True, max_length=self.max_length,
            padding=True,
        )  # fmt: skip
        inputs = {name: encoded[name] for name in self.tokenizer.model_input_names}
        return [{**inputs, "labels": label}]

    def collate(self, examples: list[Example], rng: np.random.Generator | None = None) -> Batch:
        """Pad all choices of all examples to one length: arrays (B, C, T)."""
        counts = {len(example["input_ids"]) for example in examples}
        if len(counts) > 1:
            raise ValueError(f"choices: rows have {sorted(counts)} choices, all must have as many")
        names = [name for name in self.tokenizer.model_input_names if name in examples[0]]
        flat = [
            {name: example[name][choice] for name in names}
            for example in examples
            for choice in range(len(example["input_ids"]))
        ]
        batch = dict(self.tokenizer.pad(flat, padding=True, return_tensors="np"))
        batch = {name: x.reshape(len(examples), -1, x.shape[-1]) for name, x in batch.items()}
        return {**batch, "labels": np.array([example["labels"] for example in examples])}
