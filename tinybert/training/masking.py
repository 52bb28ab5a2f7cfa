"""`mask_tokens`: hide some tokens of a text, which a masked language model has to predict."""

from __future__ import annotations

import numpy as np

from tinybert.checks import check_number

IGNORED = -100  # the label of a position that does not count in the loss
REPLACED, RANDOM = 0.8, 0.1  # of the chosen tokens; the rest stays as it is


def mask_tokens(
    ids: np.ndarray,
    maskable: np.ndarray,
    mask_id: int,
    vocab_size: int,
    rng: np.random.Generator,
    share: float = 0.15,
    continues: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the input ids and the labels (B, T) of a masked language model; `ids` stays as it is.

    In each row a share of the tokens is chosen, at least one. Of these, 80 % become `mask_id`, 10 %
    a random token and 10 % stay (Devlin et al. 2018, section 3.1): the model cannot know which
    tokens it will have to predict. The label of a chosen token is its id, all other labels are
    -100, which the loss ignores. Masks are drawn anew at each call ("dynamic masking", Liu et al.
    2019, section 4.1).

    Args:
        ids: (B, T) integers.
        maskable: (B, T) bool, False for special tokens and padding, which are never chosen.
        mask_id: the id of `[MASK]`.
        vocab_size: random tokens are drawn from 0 to vocab_size - 1.
        rng: the generator of all choices.
        share: the share of the maskable tokens of a row to choose; the number is rounded.
        continues: (B, T) bool, True for a token that continues the word of the token before. If
            given, words are chosen as a whole ("whole word masking"): words in random order until
            the number of tokens is reached. The last word may exceed it, so that long words are
            chosen as often as short ones.

    Raises ValueError for shapes that differ and a share outside 0 to 1.
    """
    check_number("share", share, most=1)
    for name, array in (("maskable", maskable), ("continues", continues)):
        if array is not None and array.shape != ids.shape:
            raise ValueError(f"{name} must have the shape of ids {ids.shape}, got {array.shape}")
    chosen = choose_tokens(maskable, rng, share, continues)
    labels = np.where(chosen, ids, IGNORED)
    what = rng.random(ids.shape)
    inputs = np.where(chosen & (what < REPLACED), mask_id, ids)
    anything = rng.integers(0, vocab_size, ids.shape)
    replaced = chosen & (what >= REPLACED) & (what < REPLACED + RANDOM)
    return np.where(replaced, anything, inputs), labels


def choose_tokens(
    maskable: np.ndarray,
    rng: np.random.Generator,
    share: float,
    continues: np.ndarray | None = None,
) -> np.ndarray:
    """Choose a share of the maskable tokens of each row, at least one: (B, T) bool."""
    wanted = np.maximum(1, np.rint(share * maskable.sum(axis=1, keepdims=True)))
    if continues is None:
        word = np.broadcast_to(np.arange(maskable.shape[1]), maskable.shape)
    else:
        word = np.cumsum(~continues, axis=1) - 1  # the number of each token's word
        word = np.maximum(word, 0)
    # Every word gets a random number; sorting the tokens by it shuffles the words.
    lot = np.take_along_axis(rng.random(maskable.shape), word, axis=1)
    lot = np.where(maskable, lot, np.inf)
    order = np.argsort(lot, axis=1, kind="stable")
    lot = np.take_along_axis(lot, order, axis=1)
    starts = np.ones_like(maskable)
    starts[:, 1:] = lot[:, 1:] != lot[:, :-1]
    # A word is chosen if its first token is among the first `wanted` ones.
    first = np.maximum.accumulate(np.where(starts, np.arange(maskable.shape[1]), 0), axis=1)
    chosen = np.zeros_like(maskable)
    np.put_along_axis(chosen, order, first < wanted, axis=1)
    return chosen & maskable
