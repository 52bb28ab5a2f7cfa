"""Softmax, log-softmax and logsumexp against torch."""

from __future__ import annotations

import pytest
import torch

from tests.support import check_op


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax(axis: int) -> None:
    check_op(lambda x: x.softmax(axis), lambda x: x.softmax(axis), shapes=[(2, 3, 11)])


@pytest.mark.parametrize("axis", [-1, 0, -2])
def test_log_softmax(axis: int) -> None:
    check_op(lambda x: x.log_softmax(axis), lambda x: x.log_softmax(axis), shapes=[(2, 3, 11)])


@pytest.mark.parametrize(("axis", "keepdims"), [(-1, False), ((0, 2), True), (1, True)])
def test_logsumexp(axis: int | tuple[int, ...], keepdims: bool) -> None:
    check_op(
        lambda x: x.logsumexp(axis, keepdims),
        lambda x: torch.logsumexp(x, axis, keepdims),
        shapes=[(2, 3, 11)],
    )
