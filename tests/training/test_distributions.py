"""Random choices of training follow their distributions.

A test of a right distribution fails with a probability of at most 1e-6 (see `tests.distributions`);
seeds are not fixed.
"""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from tests.distributions import ALARM, counts_bound, share_bound
from tinybert.training import (
    Batches,
    mask_tokens,
    sentence_blocks,
    sentence_pairs,
    token_blocks,
)
from tinybert.training.masking import choose_tokens

# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole_words", [False, True])
def test_what_a_chosen_token_becomes(whole_words: bool) -> None:
    """MASK, itself, or one of the others, all equally likely, independent of its neighbour."""
    rng, vocab, mask, own = np.random.default_rng(), 12, 4, 7
    ids = np.full((30_000, 8), own)
    continues = np.zeros(ids.shape, bool)
    continues[:, 1::2] = whole_words
    inputs, labels = mask_tokens(ids, ids > 0, mask, vocab, rng, 0.5, continues)
    chosen = labels != -100
    assert (chosen.sum(axis=1) == 4).all()
    shares = np.full(vocab, 0.1 / vocab)
    shares[[mask, own]] += 0.8, 0.1
    counts = np.bincount(inputs[chosen], minlength=vocab)
    assert counts_bound(counts, shares) > ALARM / 2
    first, second = inputs[chosen].reshape(-1, 2).T  # of a row, and of a word
    both = np.bincount(vocab * first + second, minlength=vocab**2)
    assert counts_bound(both, np.outer(shares, shares).ravel()) > ALARM / 2


def test_every_set_of_tokens_is_equally_likely() -> None:
    chosen = choose_tokens(np.ones((40_000, 6), bool), np.random.default_rng(), 0.5)
    sets = Counter(map(bytes, chosen))
    assert len(sets) == 20
    assert counts_bound([*sets.values()]) > ALARM


def test_every_word_is_chosen_as_often_as_a_random_order_says() -> None:
    """Words in random order, until there are 5 of 16 tokens: counted over all orders."""
    words, wanted = [1, 2, 5, 1, 1, 3, 2, 1], 5
    expected = np.zeros(len(words))
    orders = list(permutations(range(len(words))))
    for order in orders:
        before = 0
        for word in order:
            if before < wanted:
                expected[word] += 1 / len(orders)
            before += words[word]
    starts = np.cumsum([0, *words[:-1]])
    continues = np.ones((30_000, 16), bool)
    continues[:, starts] = False
    chosen = choose_tokens(np.ones_like(continues), np.random.default_rng(), 0.31, continues)
    for start, share in zip(starts, expected, strict=True):
        count = int(chosen[:, start].sum())
        assert share_bound(count, len(chosen), share) > ALARM / len(words)


# --- segments -------------------------------------------------------------------------------------


class Corpus:
    """Documents of equal length; a sentence is one token."""

    def __init__(self, documents: int, length: int) -> None:
        self.sentences = np.arange(documents * length + 1)
        self.documents = np.arange(0, documents * length + 1, length)
        self.length = length

    def __len__(self) -> int:
        return int(self.sentences[-1])


def test_pairs_of_sentences() -> None:
    """The first pair of each document: label, where its halves meet, and where the other is from.

    Each document has 12 tokens, which is also the size of a pair.
    """
    length, documents = 12, 20_000
    corpus: Any = Corpus(documents, length)
    rng = np.random.default_rng()
    pairs = sentence_pairs(corpus, length, rng, short=0.0)
    a, b, c, _ = pairs.borders.T
    first = a % length == 0
    assert first.sum() == documents
    tests = 5
    random = int(pairs.labels[first].sum())
    assert share_bound(random, documents, 0.5) > ALARM / tests
    halves = np.bincount((b - a)[first], minlength=length)[1:]
    assert counts_bound(halves) > ALARM / tests
    other = c[first & (pairs.labels == 1)]
    assert counts_bound(np.bincount(other % length, minlength=length)) > ALARM / tests
    # The other document is uniform among all but the pair's own.
    ahead = (other // length - a[first & (pairs.labels == 1)] // length) % documents
    assert ahead.min() > 0
    groups = np.bincount((ahead - 1) * 10 // (documents - 1), minlength=10)
    sizes = np.bincount(np.arange(documents - 1) * 10 // (documents - 1))
    assert counts_bound(groups, sizes / (documents - 1)) > ALARM / tests
    # A share of 0.3 has one of the 11 sizes from 2 to 12, the whole size among them.
    short = sentence_pairs(corpus, length, rng, short=0.3)
    next_ones = (short.borders[:, 0] % length == 0) & (short.labels == 0)
    whole = int((short.lengths[next_ones] == length).sum())
    assert share_bound(whole, int(next_ones.sum()), 0.7 + 0.3 / 11) > ALARM / tests


def test_blocks_begin_at_every_token_equally_often() -> None:
    size, documents = 9, 20_000
    corpus: Any = Corpus(documents, 3 * size)
    rng = np.random.default_rng()
    blocks = sentence_blocks(corpus, size, rng)
    first = blocks.borders[blocks.borders[:, 0] % corpus.length == 0]
    lengths = np.bincount(first[:, 1] - first[:, 0], minlength=size + 1)[1:]
    assert lengths.sum() == documents
    assert counts_bound(lengths) > ALARM / 2
    small: Any = Corpus(2, 2 * size)
    begins = [token_blocks(small, size, rng).borders[0, 0] for _ in range(5000)]
    assert counts_bound(np.bincount(begins, minlength=size)) > ALARM / 2


# --- batches --------------------------------------------------------------------------------------


class Numbers(list):
    """Examples that are their own numbers, of three lengths."""

    @property
    def lengths(self) -> np.ndarray:
        return np.array(self) % 3


@pytest.mark.parametrize("by_length", [False, True])
def test_the_first_examples_of_two_epochs_are_uniform_and_independent(by_length: bool) -> None:
    rng, count = np.random.default_rng(), 12
    first = []
    for seed in rng.integers(0, 2**63, 6000).tolist():
        batches = Batches(Numbers(range(count)), lambda rows, rng: rows, 4, seed, by_length)
        taken: list[Any] = [next(batches) for _ in range(4)]
        first.append((taken[0][0], taken[3][0]))  # an epoch has three batches
    pairs = np.bincount([count * a + b for a, b in first], minlength=count**2)
    assert counts_bound(pairs) > ALARM


def test_random_choices_of_batches_are_independent() -> None:
    """The collator's generator: uniform, and another one in every batch, epoch and seed."""
    seeds, parts = np.random.default_rng().integers(0, 2**63, 4000).tolist(), 3
    draws = []
    for seed in seeds:
        batches = Batches(Numbers(range(4)), lambda rows, rng: {"x": rng.random()}, 2, seed)
        draws.append([next(batches)["x"] for _ in range(4)])
    cells = (np.array(draws) * parts).astype(int) @ parts ** np.arange(4)
    assert counts_bound(np.bincount(cells, minlength=parts**4)) > ALARM
