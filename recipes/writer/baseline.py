"""Measure n-gram models on the tokens that `tinybert evaluate causal` predicts.

usage: python -m recipes.writer.baseline MODEL TRAIN HELD_OUT

MODEL     the model to compare with: its tokenizer, and the windows of its training
TRAIN     the text that the n-grams are counted in
HELD_OUT  the text to predict

An n-gram model predicts a token from the n - 1 tokens before it. Counts are smoothed by
interpolated Kneser-Ney (Chen and Goodman 1999, section 3): with c the count of an n-gram, D the
discount, and h' the context h without its first token,

    P(w | h) = max(c(h w) - D, 0) / c(h) + D types(h) / c(h) * P(w | h')

types(h) is the number of different tokens after h. Shorter n-grams are counted by the number of
different tokens before them. D = n1 / (n1 + 2 n2), where n1 and n2 are how many n-grams have a
count of 1 and of 2.

The first tokens of a window are predicted from those before the window too, which the model does
not see.
"""

from __future__ import annotations

import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinybert import AutoTokenizer
from tinybert.models.config import read_json_object
from tinybert.training import TokenFile

ORDERS = (3, 4, 5)
BITS = 12  # of a token id: five ids fit into an integer of 64 bits


@dataclass
class Counts:
    """The n-grams of one length, as sorted keys, with their counts."""

    keys: np.ndarray
    counts: np.ndarray

    def __post_init__(self) -> None:
        ones, twos = (self.counts == 1).sum(), (self.counts == 2).sum()
        self.discount = ones / (ones + 2 * twos)
        self.contexts, first = np.unique(self.keys >> BITS, return_index=True)
        self.totals = np.add.reduceat(self.counts, first)
        self.types = np.diff(np.append(first, len(self.keys)))

    def probabilities(self, keys: np.ndarray, shorter: np.ndarray) -> np.ndarray:
        """Return P(w | h) of n-grams, given P(w | h') of the shorter context."""
        row = np.searchsorted(self.contexts, keys >> BITS).clip(max=len(self.contexts) - 1)
        known = self.contexts[row] == keys >> BITS
        count = look_up(self.keys, self.counts, keys)
        kept = (count - self.discount).clip(min=0) / self.totals[row]
        rest = self.discount * self.types[row] / self.totals[row]
        return np.where(known, kept + rest * shorter, shorter)


def look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the value of each wanted key, 0 for those that are not in the sorted keys."""
    row = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[row] == wanted, values[row], 0)


def ngrams(ids: np.ndarray, size: int) -> np.ndarray:
    """Return the keys of the n-grams that end at each token; the first ones have zeros before."""
    keys = np.zeros(len(ids), np.uint64)
    for back in range(size):
        keys[back:] |= ids[: len(ids) - back].astype(np.uint64) << np.uint64(BITS * back)
    return keys


def count(ids: np.ndarray, order: int) -> list[Counts]:
    """Return the counts of the n-grams of length `order`, `order` - 1, ..., 1."""
    found = [Counts(*np.unique(ngrams(ids, order)[order - 1 :], return_counts=True))]
    for size in range(order - 1, 0, -1):
        suffixes = found[-1].keys & np.uint64((1 << BITS * size) - 1)
        found.append(Counts(*np.unique(suffixes, return_counts=True)))
    return found


def bits(counts: list[Counts], ids: np.ndarray, size: int) -> np.ndarray:
    """Return the bits of information of each token, given those before it."""
    p = np.full(len(ids), 1 / size)
    for length, part in enumerate(reversed(counts), 1):
        p = part.probabilities(ngrams(ids, length), p)
    return -np.log2(p)


def main(model: str, train: str, held_out: str) -> None:
    """Print bits per character and perplexity of a token, for each order."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert len(tokenizer) <= 1 << BITS
    window = read_json_object(Path(model) / "config.json")["max_position_embeddings"]
    with tempfile.TemporaryDirectory() as folder:
        known, new = (
            np.array(TokenFile.build(Path(folder) / name, [text], tokenizer).ids, np.int64)
            for name, text in (("known", train), ("new", held_out))
        )
    predicted = np.arange(len(new)) % window != 0
    characters = sum(
        len(tokenizer.decode(new[start + 1 : start + window].tolist()))
        for start in range(0, len(new), window)
    )
    print(f"{predicted.sum():,} tokens, {characters:,} characters")
    for order in ORDERS:
        total = bits(count(known, order), new, len(tokenizer))[predicted].sum()
        perplexity = math.exp(total * math.log(2) / predicted.sum())
        print(
            f"{order}-grams: {total / characters:.3f} bits per character, "
            f"perplexity {perplexity:.1f}"
        )


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
