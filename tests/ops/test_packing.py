"""Packed batches: tokens gathered in one row, spread again, and attention within segments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as TF

from tests.support import check_op
from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.backend import manual_seed

PLACES = np.array([4, 0, 5])
SEGMENTS = [(1, 2), (3, 1), (2, 4)]


def test_pack_tokens() -> None:
    check_op(
        lambda x: F.pack_tokens(x, PLACES),
        lambda x: x.reshape(6, 4)[PLACES][None],
        shapes=[(2, 3, 4)],
    )
    ids = F.pack_tokens([[7, 8, 9], [1, 2, 3]], PLACES)
    assert ids.tolist() == [[2, 7, 3]]


def test_unpack_tokens() -> None:
    def theirs(x: Any) -> Any:
        return torch.zeros(6, 4, dtype=x.dtype).index_add(0, torch.from_numpy(PLACES), x[0])

    check_op(
        lambda x: F.unpack_tokens(x, PLACES, (2, 3)),
        lambda x: theirs(x).reshape(2, 3, 4),
        shapes=[(1, 3, 4)],
    )


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("groups", [6, 3, 1])
def test_segment_attention(groups: int, is_causal: bool) -> None:
    def theirs(*heads: Any) -> Any:
        parts, start = [], 0
        for length in (length for count, length in SEGMENTS for _ in range(count)):
            q, k, v = (x[:, :, start : start + length] for x in heads)
            parts.append(
                TF.scaled_dot_product_attention(q, k, v, is_causal=is_causal, enable_gqa=True)
            )
            start += length
        return torch.cat(parts, dim=2)

    check_op(
        lambda *heads: F.segment_attention(*heads, SEGMENTS, is_causal=is_causal),
        theirs,
        shapes=[(1, 6, 13, 4), (1, groups, 13, 4), (1, groups, 13, 5)],
    )


def test_integers_count_as_floats() -> None:
    x = np.random.default_rng(0).integers(-3, 4, (1, 2, 6, 4))
    whole, floating = (
        F.segment_attention(*[Tensor(y)] * 3, [(2, 3)]) for y in (x, x.astype(np.float32))
    )
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole.numpy(), floating.numpy())


def test_dropout_differs_between_segments_and_follows_the_seed() -> None:
    rng = np.random.default_rng(0)
    sentence = rng.standard_normal((1, 2, 5, 4))
    x = Tensor(np.concatenate([sentence[:, :, :4], sentence, sentence], axis=2), requires_grad=True)
    results = []
    for seed in (1, 1, 2):
        manual_seed(seed)
        x.grad = None
        y = F.segment_attention(x, x, x, [(1, 4), (2, 5)], dropout_p=0.5)
        y.sum().backward()
        assert x.grad is not None
        results.append((y.numpy().copy(), x.grad.numpy().copy()))
    (first, slope), again, other = results
    np.testing.assert_array_equal(first, again[0])
    np.testing.assert_array_equal(slope, again[1])
    assert (first != other[0]).any()
    assert (first[:, :, 4:9] != first[:, :, 9:]).any()
    assert (first[:, :, :4] != first[:, :, 4:8]).any()
    assert not F.segment_attention(x, x, x, [(1, 4), (2, 5)], dropout_p=1.0).numpy().any()


def test_the_mean_over_dropout_is_attention_without_it() -> None:
    manual_seed(0)
    x = Tensor(np.random.default_rng(1).standard_normal((1, 2, 7, 4)))
    draws = [F.segment_attention(x, x, x, [(1, 3), (1, 4)], 0.3).numpy() for _ in range(2000)]
    exact = F.segment_attention(x, x, x, [(1, 3), (1, 4)]).numpy()
    error = np.abs(np.mean(draws, axis=0) - exact)
    assert (error < 5 * np.std(draws, axis=0) / np.sqrt(len(draws)) + 1e-12).all()


def test_errors() -> None:
    with pytest.raises(ValueError, match="places must be from 0 to 5, got 6"):
        F.pack_tokens(np.ones((2, 3)), [1, 6])
    with pytest.raises(ValueError, match="places must be from 0 to 5, got -1"):
        F.unpack_tokens(np.ones((1, 2, 4)), [1, -1], (2, 3))
    for shape in ((2, 2, 4), (1, 1, 4), (4,)):  # one token would be copied to both places
        with pytest.raises(ValueError, match=r"unpack_tokens: expected input \(1, N, ...\)"):
            F.unpack_tokens(np.ones(shape), [1, 2], (2, 3))
    q, k = np.ones((1, 6, 5, 4)), np.ones((1, 4, 5, 4))
    with pytest.raises(ValueError, match=r"H a multiple of G.* got \(1, 6, 5, 4\), \(1, 4, 5, 4\)"):
        F.segment_attention(q, k, k, [(1, 5)])
    with pytest.raises(ValueError, match=r"segments of N tokens, got .*\[\(2, 2\)\]"):
        F.segment_attention(q, q, q, [(2, 2)])
    for shapes in (
        [(2, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4, 8)],  # two rows
        [(2, 4, 8), (2, 4, 8), (2, 4, 8)],
        [(), (), ()],
        [(1, 2, 4, 8), (1, 0, 4, 8), (1, 0, 4, 8)],
        [(1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4)],
    ):
        with pytest.raises(ValueError, match=r"segment_attention: expected query \(1, H, N, K\)"):
            F.segment_attention(*map(np.zeros, shapes), [(1, 4)])
