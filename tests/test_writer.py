"""The recipe of the writer: its texts and its baseline."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.writer.baseline import bits, count
from recipes.writer.texts import split


@pytest.mark.parametrize(("size", "held_out"), [(2, 1), (40, 1), (100, 3), (239, 7)])
def test_the_last_documents_are_held_out(size: int, held_out: int) -> None:
    texts = [b"%d" % i for i in range(size)]
    first, last = split(texts)
    assert first + last == texts
    assert len(last) == held_out


def test_the_probabilities_of_ngrams() -> None:
    """Those of all next tokens add up to 1, also after unknown tokens; and one by hand: after "0 1"
    comes 2 twice and 3 once.
    """
    ids = np.array([0, 1, 2, 0, 1, 2, 0, 1, 3, 4, 2, 0])
    for order in (1, 2, 3):
        counts = count(ids, order)
        for before in ([0, 1], [4, 4], [3, 0]):
            ends = [bits(counts, np.array([*before, token]), 6)[-1] for token in range(6)]
            assert sum(2**-end for end in ends) == pytest.approx(1)
    three, two = count(ids, 3)[:2]
    p = bits(count(ids, 3), np.array([0, 1, 2]), 6)[-1]
    lower = bits([two, *count(ids, 3)[2:]], np.array([0, 1, 2]), 6)[-1]
    assert 2**-p == pytest.approx((2 - three.discount) / 3 + three.discount * 2 / 3 * 2**-lower)
