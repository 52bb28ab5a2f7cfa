"""Collators: make a batch, the arguments of a model's call, from a list of examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinybert.training.batches import Batch
from tinybert.training.masking import IGNORED, mask_tokens
from tinybert.training.segments import Segments


@dataclass(frozen=True)
class MaskedText:
    """Batches of masked tokens, and of next sentence prediction if segments are pairs.

    Attributes:
        tokenizer: adds the special tokens, and pads.
        share, whole_words: see `mask_tokens`.
        pairs: whether to add "next_sentence_label".
    """

    tokenizer: Any
    share: float = 0.15
    whole_words: bool = True
    pairs: bool = False

    def __call__(self, examples: list[Any], rng: np.random.Generator) -> Batch:
        ...


def pad(rows: list[np.ndarray], value: int, side: str = "right") -> np.ndarray:
    """Return rows of different lengths as one array (B, T), padded with `value`."""
    length = max(map(len, rows))
    out = np.full((len(rows), length), value, rows[0].dtype)
    for row, target in zip(rows, out, strict=True):
        target[slice(len(row)) if side == "right" else slice(length - len(row), None)] = row
    return out
