"""Softmax, log-softmax and logsumexp against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support import check_op
from tinybert import Tensor


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


@pytest.mark.parametrize("shape", [(), (5,), (1,), (2, 1), (0, 3), (2, 3, 5, 7)], ids=str)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_shapes(name: str, shape: tuple[int, ...]) -> None:
    check_op(
        lambda x: getattr(x, name)(-1),
        lambda x: getattr(x, name)(-1),
        shapes=[shape],
        differences=x_matters(name, shape),
    )


def x_matters(name: str, shape: tuple[int, ...]) -> bool:
    """Whether the result depends on x at all: the softmax of one element is 1."""
    return 0 not in shape and (shape[-1:] > (1,) or name == "logsumexp")


def test_large_values_do_not_overflow() -> None:
    x = np.array([[1e4, 1e4 + 1, -1e4], [-1e4, -1e4 - 2, -1e4], [0.0, -np.inf, 1.0]])
    for name in ("softmax", "log_softmax", "logsumexp"):
        check_op(
            lambda x, name=name: getattr(x, name)(-1),
            lambda x, name=name: getattr(x, name)(-1),
            arrays=[x],
            differences=False,
        )


def test_rows_of_minus_infinity_are_as_in_torch() -> None:
    x = np.array([[-np.inf, -np.inf], [0.0, 1.0]])
    for name in ("softmax", "log_softmax", "logsumexp"):
        ours = getattr(Tensor(x), name)(-1).numpy()
        np.testing.assert_allclose(ours, getattr(torch.from_numpy(x), name)(-1).numpy())


def test_logsumexp_over_nothing() -> None:
    assert Tensor(np.zeros((2, 0))).logsumexp(1).tolist() == [-np.inf, -np.inf]
    assert Tensor(np.zeros((0, 2))).logsumexp(1).shape == (0,)


def test_float16_rows_still_add_up_to_one() -> None:
    x = np.random.default_rng(0).standard_normal((3, 1000)).astype(np.float16)
    y = Tensor(x).softmax(-1)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.numpy().astype(np.float64).sum(-1), 1, atol=5e-3)


def test_a_wrong_axis_is_refused() -> None:
    with pytest.raises(ValueError, match="axis must be from -2 to 1 for a tensor with 2 axes, got"):
        Tensor(np.ones((2, 3))).softmax(2)
    for name in ("softmax", "log_softmax", "logsumexp"):
        with pytest.raises(ValueError, match="axis must be from -1 to 0 for"):
            getattr(Tensor(2.0), name)(1)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_rows_without_elements(name: str) -> None:
    check_op(
        lambda x: getattr(x, name)(-1),
        lambda x: getattr(x, name)(-1),
        shapes=[(3, 0)],
        differences=False,
    )
