"""Texts that end with a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from tinybert.generation.sentence_end import END, SentenceEnd


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("He went.", True), ("“Yes!”", True), ("(All of them?)", True), ("Is it?'", True),
        ("He saw Mr.", False), ("of J.", False), ("in the U.S.", False), ("He went", False),
        ("He went. She", False), ("3.5", False),
    ],
)  # fmt: skip
def test_the_end_of_a_sentence(text: str, ends: bool) -> None:
    assert bool(END.search(text)) == ends


class Letters:
    """A tokenizer with a token for each of these characters."""

    def decode(self, ids: list[int]) -> str:
        return "".join(". ab"[i] for i in ids)


def test_only_the_end_remains_after_a_sentence_that_is_long_enough() -> None:
    """The prompt has two tokens; two new ones are too few."""
    end = SentenceEnd(Letters(), 2, eos_token_id=3)
    rows = np.array([[2, 3, 2, 2, 0], [2, 3, 2, 0, 1]])  # "abaa." and "aba. "
    scores = np.arange(8.0, dtype="float32").reshape(2, 4)
    for length in (2, 3):
        assert (end(rows[:, :length], scores) == scores).all()
    after_four, after_five = end(rows[:, :4], scores), end(rows, scores)
    only = [-np.inf, -np.inf, -np.inf, 0]
    assert np.array_equal(after_four, [scores[0], only])
    assert np.array_equal(after_five, [only, scores[1]])
    assert (scores == np.arange(8).reshape(2, 4)).all()
