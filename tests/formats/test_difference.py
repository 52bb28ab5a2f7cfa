"""Differences of arrays, in cases where NumPy's own comparison is wrong or impossible."""

import numpy as np
import pytest

from tinybert.formats.difference import BLOCK, difference

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1.0, NAN, INF, -INF], [1.0, NAN, INF, -INF], (0, 0, 0)),
        ([1.0, 2.0, NAN], [1.5, 2.0, NAN], (0.5, 0.5 / 3, 0)),
        ([1.0, NAN, 3.0], [3.0, 1.0, 3.0], (2, 1, 1)),
        ([INF, INF, NAN, 0.0], [-INF, 1.0, INF, 2.0], (2, 2, 3)),
        ([0.0], [-0.0], (0, 0, 0)),
        ([], [], (0, 0, 0)),
    ],
)
def test_special_values(a, b, expected):
    for dtype in (np.float32, np.float64):
        found = difference(np.array(a, dtype), np.array(b))
        assert found == pytest.approx(expected, rel=1e-12)


def test_formats_and_kinds():
    assert difference(np.array([True, False]), np.array([True, True])) == (1, 0.5, 0)
    assert difference(np.array([3 + 4j]), np.array([0.0])) == (5, 5, 0)
    large = np.array([2**63, 2**63], np.uint64)
    assert difference(large, large + np.array([0, 1], np.uint64)) == (1, 0.5, 0)
    assert difference(np.array(7, np.int64), np.array(7, np.uint8)) == (0, 0, 0)
    assert difference(np.array([60000], np.float16), np.array([-60000], np.float16))[0] > 1e5


def test_several_blocks_and_any_layout():
    a = np.random.default_rng(0).normal(size=(1031, 3 * BLOCK // 1031)).astype(np.float32)
    b = a + np.float32(0.25) * (np.arange(a.shape[1]) % 2)
    exact = np.abs(a.astype(np.float64) - b)
    found = difference(np.asfortranarray(a), b)
    assert found.largest == exact.max()
    assert found.mean == pytest.approx(exact.mean(), rel=1e-12)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"a has shape \(2,\), b has \(2, 1\)"):
        difference(np.zeros(2), np.zeros((2, 1)))
