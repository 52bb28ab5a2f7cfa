"""Which tokens are masked, and by what they are replaced."""

from __future__ import annotations

import numpy as np
import pytest

from tinybert.training import mask_tokens
from tinybert.training.masking import choose_tokens

MASK, VOCAB = 4, 1000  # how often what is drawn: test_distributions.py


def rows(rng: np.random.Generator, batch: int = 200, length: int = 60) -> tuple:
    ids = rng.integers(5, VOCAB, (batch, length))
    maskable = np.ones_like(ids, bool)
    maskable[:, [0, -1]] = False
    maskable[: batch // 2, length // 2 :] = False  # padding
    return ids, maskable


def test_the_chosen_tokens_are_the_labels() -> None:
    rng = np.random.default_rng()
    ids, maskable = rows(rng)
    inputs, labels = mask_tokens(ids, maskable, MASK, VOCAB, rng)
    chosen = labels != -100
    assert (chosen.sum(axis=1) == np.rint(0.15 * maskable.sum(axis=1))).all()
    assert not (chosen & ~maskable).any()
    assert (labels[chosen] == ids[chosen]).all()
    assert (inputs[~chosen] == ids[~chosen]).all()
    assert set(np.unique(inputs)) <= set(range(VOCAB))


@pytest.mark.parametrize("share", [0.15, 0.4])
def test_words_are_chosen_as_a_whole(share: float) -> None:
    rng = np.random.default_rng()
    lengths = rng.choice([1, 2, 5], 4000, p=[0.6, 0.3, 0.1]).reshape(200, 20)
    width = lengths.sum(axis=1).max()
    continues = np.zeros((200, width), bool)
    maskable = np.zeros((200, width), bool)
    for row, words in enumerate(lengths):
        starts = np.cumsum(words) - words
        maskable[row, : words.sum()] = True
        continues[row, : words.sum()] = True
        continues[row, starts] = False
    chosen = choose_tokens(maskable, rng, share, continues)
    more = chosen.sum(axis=1) - np.rint(share * maskable.sum(axis=1))
    assert ((more >= 0) & (more < 5)).all()  # the last word may be too long
    word = np.cumsum(~continues, axis=1) - 1
    for row in range(200):
        for number in range(20):
            assert len(set(chosen[row, (word[row] == number) & maskable[row]])) == 1


def test_the_callers_arrays_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    ids, maskable = rows(rng)
    before = ids.copy(), maskable.copy()
    mask_tokens(ids, maskable, MASK, VOCAB, rng)
    assert np.array_equal(ids, before[0])
    assert np.array_equal(maskable, before[1])


def test_a_row_of_few_tokens_has_one_mask() -> None:
    maskable = np.array([[False, True, True, False]])
    assert choose_tokens(maskable, np.random.default_rng(0), 0.15).sum() == 1
    nothing = np.zeros((1, 4), bool)
    assert not choose_tokens(nothing, np.random.default_rng(0), 0.15).any()


def test_wrong_arguments_are_named() -> None:
    ids = np.ones((2, 3), np.int64)
    with pytest.raises(ValueError, match="share must be a number from 0 to 1, got 2"):
        mask_tokens(ids, ids > 0, 4, 9, np.random.default_rng(0), share=2)
    with pytest.raises(ValueError, match=r"maskable must have the shape of ids \(2, 3\)"):
        mask_tokens(ids, np.ones((2, 4), bool), 4, 9, np.random.default_rng(0))
