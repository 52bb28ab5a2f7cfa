"""Tag the words of a text: named entities, parts of speech."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from tinybert.checks import check_choice
from tinybert.models import AutoModelForTokenClassification
from tinybert.training import metrics
from tinybert.training.batches import Batch
from tinybert.training.examples import Example
from tinybert.training.masking import IGNORED
from tinybert.training.readers import Row
from tinybert.training.tasks.base import Answer, Task, texts_of


class Tagging(Task):
    """A tag for each word.

    A row has "words" and "tags", lists of the same length, or texts with spaces between them. Only
    the first token of a word has a label; the others, and special tokens, have -100, which the loss
    ignores. A long sentence is split into windows.
    """

    name = "tagging"
    auto = AutoModelForTokenClassification
    columns = ("words", "tags")
    padding: ClassVar = {"labels": IGNORED}

    def learn_labels(self, rows: Sequence[Row]) -> None:
        self.labels = sorted({tag for row in rows for tag in texts_of(row, "tags", None)})

    @property
    def best(self) -> str:  # type: ignore[override]
        return "entity_f1" if self.marks_entities else "accuracy"

    @property
    def marks_entities(self) -> bool:
        """Whether the tags are of the scheme IOB2: O, B-kind and I-kind."""
        return all(label == "O" or label[:2] in ("B-", "I-") for label in self.labels)

    def encode(self, row: Row) -> list[Example]:
        words, tags = (texts_of(row, name, None) for name in ("words", "tags"))
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

    def answer(self, logits: list[np.ndarray], labels: list[Any]) -> Answer:
        """Return the tags of the words; one without tokens, of control characters, has none."""
        right = np.concatenate(labels)
        found = np.concatenate([scores.argmax(axis=-1) for scores in logits])
        counts = right != IGNORED
        return {
            key: [self.labels[i] for i in numbers[counts]]
            for key, numbers in (("label", right), ("prediction", found))
        }

    def metrics(self, predictions: list[Any], labels: list[Any]) -> dict[str, float]:
        scores = super().metrics(*(list(chain(*rows)) for rows in (predictions, labels)))
        if self.marks_entities:
            scores["entity_f1"] = metrics.entity_f1(predictions, labels)
        return scores

    def decisions(self, prediction: Any) -> Iterable[tuple[Any, ...]]:
        if self.marks_entities:
            return metrics.entities(prediction)
        return [(tag, position) for position, tag in enumerate(prediction)]
