"""Tag the words of a text: named entities, parts of speech."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from tinybert.checks import check_choice
from tinybert.models import AutoModelForTokenClassification
from tinybert.training import metrics
from tinybert.training.batches import Batch
from tinybert.training.masking import IGNORED
from tinybert.training.readers import Row
from tinybert.training.tasks.base import Example, Task


class Tagging(Task):
    """A tag for each word.

    A row has "words" and "tags", lists of the same length. Only the first token of a word has a
    label; the others, and special tokens, have -100, which the loss ignores. A long sentence is
    split into windows.
    """

    name = "tagging"
    auto = AutoModelForTokenClassification
    columns = ("words", "tags")
    padding: ClassVar = {"labels": IGNORED}

    def learn_labels(self, rows: Sequence[Row]) -> None:
        self.labels = sorted({tag for row in rows for tag in row["tags"]})

    @property
    def best(self) -> str:  # type: ignore[override]
        return "entity_f1" if self.marks_entities else "accuracy"

    @property
    def marks_entities(self) -> bool:
        """Whether the tags are of the scheme IOB2: O, B-kind and I-kind."""
        return all(label == "O" or label[:2] in ("B-", "I-") for label in self.labels)

    def encode(self, row: Row) -> list[Example]:
        words, tags = row["words"], row["tags"]
        if len(words) != len(tags):
            raise ValueError(
                f"words and tags must have equal lengths, got {len(words)} and {len(tags)}"
            )
        known = {tag: number for number, tag in enumerate(self.labels)}
        for tag in tags:
            check_choice("tag", tag, known)
        encoded = self.tokenizer(
            words, is_split_into_words=True, truncation=True, max_length=self.max_length,
            return_overflowing_tokens=True,
        )  # fmt: skip
        examples, done = [], -1
        for window in range(len(encoded["input_ids"])):
            labels = []
            for word in encoded.word_ids(window):
                is_first = word is not None and word > done
                labels.append(known[tags[word]] if is_first else IGNORED)
                done = word if is_first else done
            inputs = {name: encoded[name][window] for name in self.tokenizer.model_input_names}
            examples.append({**inputs, "labels": labels})
        return examples

    def count(self, batch: Batch) -> int:
        return int((batch["labels"] != IGNORED).sum())

    def metrics(
        self, outputs: list[dict[str, np.ndarray]], batches: list[Batch]
    ) -> dict[str, float]:
        found, right = [], []
        for output, batch in zip(outputs, batches, strict=True):
            for logits, labels in zip(output["logits"], batch["labels"], strict=True):
                counts = labels != IGNORED
                found.append(logits[counts].argmax(axis=-1))
                right.append(labels[counts])
        scores = {"accuracy": metrics.accuracy(np.concatenate(found), np.concatenate(right))}
        if self.marks_entities:
            names = [[[self.labels[i] for i in row] for row in rows] for rows in (found, right)]
            scores["entity_f1"] = metrics.entity_f1(*names)
        return scores
