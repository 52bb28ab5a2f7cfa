"""Splitting features into heads and merging them, against torch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import check_op
from tinybert import Tensor
from tinybert import functional as F


def test_split_heads() -> None:
    check_op(
        lambda x: F.split_heads(x, 5),
        lambda x: x.reshape(2, 3, 5, 2).transpose(1, 2),
        shapes=[(2, 3, 10)],
    )


def test_merge_heads() -> None:
    check_op(F.merge_heads, lambda x: x.transpose(1, 2).reshape(2, 3, 20), shapes=[(2, 5, 3, 4)])


@pytest.mark.parametrize("shape", [(2, 0, 6), (0, 3, 6)])
def test_empty_axes(shape: tuple[int, ...]) -> None:
    x = np.ones(shape, np.float32)
    heads = F.split_heads(Tensor(x), 3)
    assert heads.shape == (shape[0], 3, shape[1], 2)
    assert F.merge_heads(heads).shape == shape


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"split_heads: 4 heads do not divide .*\(2, 3, 10\)"):
        F.split_heads(np.ones((2, 3, 10)), 4)
    with pytest.raises(ValueError, match=r"merge_heads: x must have shape .*got \(2, 3, 10\)"):
        F.merge_heads(np.ones((2, 3, 10)))
