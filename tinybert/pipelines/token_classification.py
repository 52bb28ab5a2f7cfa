"""Which class does each token, or each group of tokens, belong to? Names, parts of speech, ..."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tinybert.models import AutoModelForTokenClassification
from tinybert.models.heads import TokenClassification
from tinybert.pipelines.base import (
    OnePassPipeline,
    Outputs,
    Row,
    Settings,
    check_whole,
    one_text,
    softmax,
)

STRATEGIES = ("none", "simple", "first", "average", "max")
BY_WORD = ("first", "average", "max")
Entity = dict[str, Any]


@dataclass
class Piece:
    """A token of the text, or a word of several: what it is, where it stands, its classes.

    scores: (N,) probabilities of the classes.
    continues: whether it belongs to the same word as the one before.
    """

    word: str
    scores: np.ndarray
    start: int | None
    end: int | None
    index: int
    continues: bool


class TokenClassificationPipeline(OnePassPipeline):
    """Finds names and other things in a text.

        pipeline("token-classification", folder, aggregation_strategy="simple")("Ada was in Rome.")

    Options of a call:
        aggregation_strategy: how tokens are joined. "none": not at all. "simple": neighbours of
            one class become a group; a label that begins with "B-" begins a new one. The others
            first give each word one class: "first" that of its first token, "max" that of the
            token with the highest score, "average" the class with the highest mean.
        ignore_labels: classes that are left out; ["O"] by default.
        stride: read a text that is too long for the model in windows that share so many tokens;
            needs a strategy. Without, what is too long is cut off, as in transformers.

    Returns for each text a list of dicts, in its order: `score`, `word`, `start` and `end`
    (characters of the text; None if the tokenizer does not know them), and `entity_group`, or for
    "none" `entity` and `index` (the number of the token).
    """

    task = "token-classification"
    model_class = TokenClassification
    auto_class = AutoModelForTokenClassification
    defaults: ClassVar[Settings] = {
        "aggregation_strategy": "none",
        "ignore_labels": None,
        "stride": None,
    }
    per_token = True

    def check(self, settings: Settings) -> None:
        strategy, stride = settings["aggregation_strategy"], settings["stride"]
        if strategy not in STRATEGIES:
            raise ValueError(
                f"aggregation_strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}"
            )
        if isinstance(settings["ignore_labels"], str):
            raise ValueError(f"ignore_labels must be a list, got {settings['ignore_labels']!r}")
        check_whole("stride", stride, 0, optional=True)
        if (strategy in BY_WORD or stride is not None) and not self.tokenizer.is_fast:
            raise ValueError(
                "strategies that go by words, and a stride, need a tokenizer that knows places in "
                f"the text, such as BertTokenizerFast, got {type(self.tokenizer).__name__}"
            )
        if stride is not None and strategy == "none":
            raise ValueError("a stride needs an aggregation_strategy other than 'none'")
        if stride is not None and stride >= self.max_length:
            raise ValueError(f"stride must be less than {self.max_length}, got {stride}")

    def rows(self, item: Any, settings: Settings) -> list[Row]:
        stride = settings["stride"]
        windows = {} if stride is None else {"return_overflowing_tokens": True, "stride": stride}
        encoded = self.tokenizer(
            one_text(self.task, item), truncation=True, max_length=self.max_length, **windows
        )
        return self.split(encoded)

    def result(self, item: Any, rows: list[Row], outputs: list[Outputs], settings: Settings) -> Any:
        strategy = settings["aggregation_strategy"]
        ignored = settings["ignore_labels"]
        ignored = ("O",) if ignored is None else ignored
        found: list[Entity] = []
        for row, output in zip(rows, outputs, strict=True):
            pieces = self._pieces(item, row, softmax(output["logits"]))
            if strategy in BY_WORD:
                pieces = self._words(pieces, strategy)
            entities = [self._entity(piece) for piece in pieces]
            if strategy != "none":
                entities = self._groups(entities)
            name = "entity" if strategy == "none" else "entity_group"
            found += [entity for entity in entities if entity[name] not in ignored]
        return _without_overlaps(found) if len(rows) > 1 else found

    # --- tokens ---------------------------------------------------------------------------------

    def _pieces(self, text: str, row: Row, scores: np.ndarray) -> list[Piece]:
        """The tokens of a row, special ones left out, with their scores (T, N)."""
        ids = row.inputs["input_ids"]
        tokens = self.tokenizer.convert_ids_to_tokens(ids)
        places = row.encoding
        if places is None:
            special = self.tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
            return [
                Piece(tokens[i], scores[i], None, None, i, False)
                for i in range(len(row))
                if not special[i]
            ]
        found = []
        for i in range(len(row)):
            if places.special_tokens_mask[i]:
                continue
            start, end = places.offsets[i]
            unknown = ids[i] == self.tokenizer.unk_token_id
            same = i > 0 and places.word_ids[i] is not None
            continues = same and places.word_ids[i] == places.word_ids[i - 1]
            word = text[start:end] if unknown else tokens[i]
            found.append(Piece(word, scores[i], start, end, i, continues))
        return found

    def _words(self, tokens: list[Piece], strategy: str) -> list[Piece]:
        """Words of one class each."""
        words: list[list[Piece]] = []
        for token in tokens:
            if token.continues and words:
                words[-1].append(token)
            else:
                words.append([token])
        return [self._word(parts, strategy) for parts in words]

    def _word(self, parts: list[Piece], strategy: str) -> Piece:
        scores = parts[0].scores
        if strategy == "max":
            scores = max(parts, key=lambda part: part.scores.max()).scores
        elif strategy == "average":
            scores = np.mean([part.scores for part in parts], axis=0)
        text = self.tokenizer.convert_tokens_to_string([part.word for part in parts])
        return Piece(text, scores, parts[0].start, parts[-1].end, parts[0].index, False)

    # --- entities -------------------------------------------------------------------------------

    def _entity(self, piece: Piece) -> Entity:
        best = int(piece.scores.argmax())
        return {
            "entity": self.model.config.id2label[best],
            "score": float(piece.scores[best]),
            "index": piece.index,
            "word": piece.word,
            "start": piece.start,
            "end": piece.end,
        }

    def _groups(self, entities: list[Entity]) -> list[Entity]:
        """Neighbours of one class as one entity."""
        groups: list[list[Entity]] = []
        for entity in entities:
            begins, tag = _begins_and_tag(entity["entity"])
            if groups and not begins and tag == _begins_and_tag(groups[-1][-1]["entity"])[1]:
                groups[-1].append(entity)
            else:
                groups.append([entity])
        return [
            {
                "entity_group": group[0]["entity"].split("-", 1)[-1],
                "score": float(np.mean([entity["score"] for entity in group])),
                "word": self.tokenizer.convert_tokens_to_string([e["word"] for e in group]),
                "start": group[0]["start"],
                "end": group[-1]["end"],
            }
            for group in groups
        ]


def _begins_and_tag(label: str) -> tuple[bool, str]:
    """Whether a label begins a group, and its class: "B-PER" and "I-PER" are both of "PER"."""
    return label.startswith("B-"), label[2:] if label[:2] in ("B-", "I-") else label


def _without_overlaps(entities: list[Entity]) -> list[Entity]:
    """Of entities of several windows that overlap, the longest, or of equal ones the likeliest."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        if not kept or entity["start"] >= kept[-1]["end"]:
            kept.append(entity)
            continue
        weight = [(e["end"] - e["start"], e["score"]) for e in (entity, kept[-1])]
        if weight[0] > weight[1]:
            kept[-1] = entity
    return kept
