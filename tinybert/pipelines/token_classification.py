"""Token classification: label tokens or groups of tokens (named entities, parts of speech, ...)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tinybert.checks import check, check_choice, check_flag, check_integer
from tinybert.models import AutoModelForTokenClassification
from tinybert.models.heads import TokenClassification
from tinybert.pipelines.base import OnePassPipeline, Outputs, Row, Settings, one_text, softmax
from tinybert.pipelines.words import continues_word

STRATEGIES = ("none", "simple", "first", "average", "max")
BY_WORD = ("first", "average", "max")
Entity = dict[str, Any]


@dataclass
class ScoredToken:
    """A token, or a word of several tokens, with its class probabilities.

    Attributes:
        tokens: the tokens; an unknown token is replaced by its text.
        scores: (N,) class probabilities.
        start, end: character offsets in the text; None for a tokenizer without offsets.
        index: the position of the (first) token.
        continues: whether it belongs to the same word as the token before.
    """

    tokens: list[str]
    scores: np.ndarray
    start: int | None
    end: int | None
    index: int
    continues: bool


class TokenClassificationPipeline(OnePassPipeline):
    """Labels tokens, for example to recognize named entities.

        pipeline("token-classification", folder, aggregation_strategy="simple")("Ada was in Rome.")

    Options of a call:
        aggregation_strategy: how tokens are grouped. "none": not at all. "simple": adjacent tokens
            with the same class form a group; a label that begins with "B-" begins a new one. The
            other strategies first give each word one class: "first" that of its first token, "max"
            that of the token with the highest score, "average" the class with the highest mean.
            A tokenizer that does not know words (no pre-tokenizer) has words split at whitespace.
        join: whether adjacent tokens or words of the same class are merged into one group
            (default: True); False for part-of-speech tags.
        ignore_labels: classes that are left out; ["O"] by default.
        stride: split a text that exceeds the model's limit into windows that share this number of
            tokens; needs a strategy. Without it the text is truncated, as in transformers.

    Returns for each text a list of dicts, in the order of the text: `score`, `word`, `start` and
    `end` (character offsets; None for a tokenizer without offsets), and `entity_group`, or for
    "none" `entity` and `index` (the position of the token).
    """

    task = "token-classification"
    model_class = TokenClassification
    auto_class = AutoModelForTokenClassification
    defaults: ClassVar[Settings] = {
        "aggregation_strategy": "none",
        "join": True,
        "ignore_labels": None,
        "stride": None,
    }
    per_token = True

    def check(self, settings: Settings) -> None:
        strategy, stride = settings["aggregation_strategy"], settings["stride"]
        ignored = settings["ignore_labels"]
        check_choice("aggregation_strategy", strategy, STRATEGIES)
        check_flag("join", settings["join"])
        check("ignore_labels", ignored, not isinstance(ignored, str), "a list of labels")
        check_integer("stride", stride, 0, optional=True)
        if (strategy in BY_WORD or stride is not None) and not self.tokenizer.is_fast:
            raise ValueError(
                f"stride and the strategies {', '.join(BY_WORD)} need a tokenizer with offsets, "
                f"such as BertTokenizerFast, got {type(self.tokenizer).__name__}"
            )
        if stride is not None and strategy == "none":
            raise ValueError("stride needs an aggregation_strategy other than 'none'")
        limit = self.max_length
        check("stride", stride, (stride or 0) < limit, f"< {limit}, the model's limit")

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
        results: list[Entity] = []
        for row, output in zip(rows, outputs, strict=True):
            tokens = self._tokens(item, row, softmax(output["logits"]))
            if strategy in BY_WORD:
                tokens = self._words(tokens, strategy)
            entities = (
                [self._entity(token) for token in tokens]
                if strategy == "none"
                else [self._group(group) for group in self._grouped(tokens, settings["join"])]
            )
            name = "entity" if strategy == "none" else "entity_group"
            results += [entity for entity in entities if entity[name] not in ignored]
        return _without_overlaps(results) if len(rows) > 1 else results

    # --- tokens ---------------------------------------------------------------------------------

    def _tokens(self, text: str, row: Row, scores: np.ndarray) -> list[ScoredToken]:
        """Return the tokens of a row without special tokens, with their scores (T, N)."""
        ids = row.inputs["input_ids"]
        tokens = self.tokenizer.convert_ids_to_tokens(ids)
        encoding = row.encoding
        if encoding is None:
            special = self.tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
            return [
                ScoredToken([tokens[i]], scores[i], None, None, i, False)
                for i in range(len(row))
                if not special[i]
            ]
        scored = []
        continues = continues_word(text, encoding)
        for i in range(len(row)):
            if encoding.special_tokens_mask[i]:
                continue
            start, end = encoding.offsets[i]
            is_unknown = ids[i] == self.tokenizer.unk_token_id
            token = text[start:end] if is_unknown else tokens[i]
            scored.append(ScoredToken([token], scores[i], start, end, i, continues[i]))
        return scored

    def _words(self, tokens: list[ScoredToken], strategy: str) -> list[ScoredToken]:
        """Join the tokens of each word, and give each word one class."""
        words: list[list[ScoredToken]] = []
        for token in tokens:
            if token.continues and words:
                words[-1].append(token)
            else:
                words.append([token])
        return [self._word(tokens, strategy) for tokens in words]

    def _word(self, tokens: list[ScoredToken], strategy: str) -> ScoredToken:
        scores = tokens[0].scores
        if strategy == "max":
            scores = max(tokens, key=lambda token: token.scores.max()).scores
        elif strategy == "average":
            scores = np.mean([token.scores for token in tokens], axis=0)
        parts = [part for token in tokens for part in token.tokens]
        first, last = tokens[0], tokens[-1]
        return ScoredToken(parts, scores, first.start, last.end, first.index, False)

    # --- entities -------------------------------------------------------------------------------

    def _label(self, token: ScoredToken) -> str:
        return str(self.model.config.id2label[int(token.scores.argmax())])

    def _entity(self, token: ScoredToken) -> Entity:
        return {
            "entity": self._label(token),
            "score": float(token.scores.max()),
            "index": token.index,
            "word": token.tokens[0],
            "start": token.start,
            "end": token.end,
        }

    def _grouped(self, tokens: list[ScoredToken], join: bool) -> list[list[ScoredToken]]:
        """Join adjacent tokens or words of the same class, if `join`."""
        groups: list[list[ScoredToken]] = []
        for token in tokens:
            begins, tag = _begins_and_tag(self._label(token))
            last = _begins_and_tag(self._label(groups[-1][-1]))[1] if groups else None
            if join and not begins and tag == last:
                groups[-1].append(token)
            else:
                groups.append([token])
        return groups

    def _group(self, group: list[ScoredToken]) -> Entity:
        tokens = [part for token in group for part in token.tokens]
        return {
            "entity_group": self._label(group[0]).split("-", 1)[-1],
            "score": float(np.mean([float(token.scores.max()) for token in group])),
            "word": self.tokenizer.convert_tokens_to_string(tokens),
            "start": group[0].start,
            "end": group[-1].end,
        }


def _begins_and_tag(label: str) -> tuple[bool, str]:
    """Return whether a label begins a group, and its class: "B-PER" and "I-PER" give "PER"."""
    return label.startswith("B-"), label[2:] if label[:2] in ("B-", "I-") else label


def _without_overlaps(entities: list[Entity]) -> list[Entity]:
    """Of overlapping entities from several windows, keep the longest, then the most likely."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        if not kept or entity["start"] >= kept[-1]["end"]:
            kept.append(entity)
            continue
        new, old = ((e["end"] - e["start"], e["score"]) for e in (entity, kept[-1]))
        if new > old:
            kept[-1] = entity
    return kept
