"""Collators of pre-training: batches of masked text, of pairs of segments, and of plain text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinybert.training.batches import Batch
from tinybert.training.masking import IGNORED, mask_tokens
from tinybert.training.token_file import TokenFile

Segment = tuple[slice, slice, int]  # see `Segments`


@dataclass(frozen=True)
class MaskedText:
    """Batches of a masked language model.

    Attributes:
        tokens: the corpus.
        tokenizer: adds the special tokens.
        share: the share of tokens to predict.
        whole_words: whether words are masked as a whole; see `mask_tokens`.
        pairs: whether segments are pairs, with the label of next sentence prediction.
    """

    tokens: TokenFile
    tokenizer: Any
    share: float = 0.15
    whole_words: bool = True
    pairs: bool = False

    def __call__(self, segments: list[Segment], rng: np.random.Generator) -> Batch:
        tokenizer, rows = self.tokenizer, [self._row(a, b) for a, b, _ in segments]
        ids = stack([row["ids"] for row in rows], tokenizer.pad_token_id)
        attention = stack([np.ones(len(row["ids"]), np.int64) for row in rows], 0)
        inputs, labels = mask_tokens(
            ids,
            stack([row["maskable"] for row in rows], False),
            tokenizer.mask_token_id,
            len(tokenizer),
            rng,
            self.share,
            stack([row["continues"] for row in rows], False) if self.whole_words else None,
        )
        batch = {"input_ids": inputs, "attention_mask": attention, "labels": labels}
        if "token_type_ids" in tokenizer.model_input_names:
            batch["token_type_ids"] = stack([row["types"] for row in rows], 0)
        if self.pairs:
            batch["next_sentence_label"] = np.array([label for _, _, label in segments])
        return batch

    def _row(self, a: slice, b: slice) -> dict[str, np.ndarray]:
        """Return one row with its special tokens."""
        first, second = self.tokens.ids[a].tolist(), self.tokens.ids[b].tolist()
        texts = (first, second) if self.pairs else (first,)
        ids = np.array(self.tokenizer.build_inputs_with_special_tokens(*texts), np.int64)
        special = np.array(self.tokenizer.get_special_tokens_mask(*texts), bool)
        continues = np.zeros(len(ids), bool)
        continues[~special] = np.concatenate([self.tokens.continues[a], self.tokens.continues[b]])
        types = np.array(self.tokenizer.create_token_type_ids_from_sequences(*texts), np.int64)
        return {"ids": ids, "maskable": ~special, "continues": continues, "types": types}


@dataclass(frozen=True)
class PlainText:
    """Batches of a causal language model: the labels are the input ids; the model shifts them.

    A row that is shorter than the longest is padded on the right, which changes nothing for the
    tokens before, with labels that the loss ignores.
    """

    tokens: TokenFile

    def __call__(self, segments: list[Segment], rng: np.random.Generator) -> Batch:
        rows = [self.tokens.ids[a].astype(np.int64) for a, _, _ in segments]
        return {"input_ids": stack(rows, 0), "labels": stack(rows, IGNORED)}


def stack(rows: list[np.ndarray], value: Any) -> np.ndarray:
    """Return rows of different lengths as one array (B, T), padded on the right with `value`."""
    out = np.full((len(rows), max(map(len, rows))), value, rows[0].dtype)
    for row, target in zip(rows, out, strict=True):
        target[: len(row)] = row
    return out
