"""Gradient clipping against torch, for every kind of norm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from tests import tolerances
from tests.support import assert_close
from tinybert.autograd import Tensor, as_tensor
from tinybert.optim import clip_grad_norm_

SHAPES = ((3, 11), (2,), (), (0, 4))


def gradients(dtype: Any = np.float64, size: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [(size * rng.standard_normal(shape)).astype(dtype) for shape in SHAPES]


def with_gradients(grads: list[np.ndarray], device: str = "cpu") -> list[Tensor]:
    """Tensors that have these gradients, and one that has none."""
    params = [Tensor(np.ones(g.shape, g.dtype), requires_grad=True, device=device) for g in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = Tensor(grad, device=device)
    return [*params, Tensor(np.ones(7), requires_grad=True, device=device)]


def torch_result(
    grads: list[np.ndarray], max_norm: float, norm_type: float
) -> tuple[float, list[np.ndarray]]:
    params = [torch.ones(g.shape, dtype=torch.from_numpy(g).dtype) for g in map(np.array, grads)]
    for param, grad in zip(params, grads, strict=True):
        param.grad = torch.from_numpy(np.array(grad))
    total = torch.nn.utils.clip_grad_norm_(params, max_norm, norm_type)
    return total.item(), [param.grad.numpy() for param in params if param.grad is not None]


@pytest.mark.parametrize("max_norm", [0.0, 0.3, 1e3], ids=["to zero", "clipped", "untouched"])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.5, math.inf])
def test_equal_to_torch(norm_type: float, max_norm: float, device: str) -> None:
    grads = gradients()[: 3 if norm_type == math.inf else 4]  # torch finds no maximum of nothing
    params = with_gradients(grads, device)
    expected, scaled = torch_result(grads, max_norm, norm_type)
    total = clip_grad_norm_(params, max_norm, norm_type=norm_type)
    assert isinstance(total, Tensor)
    assert total.shape == ()
    assert total.device == params[0].device
    assert_close(total.numpy(), np.float64(expected), rtol=tolerances.OP_FLOAT64)
    for param, grad in zip(params[:-1], scaled, strict=True):
        assert param.grad is not None
        assert_close(param.grad.numpy(), grad, rtol=tolerances.OP_FLOAT64)
    assert params[-1].grad is None
    if max_norm == 1e3:
        for param, grad in zip(params[:-1], grads, strict=True):
            assert param.grad is not None
            np.testing.assert_array_equal(param.grad.numpy(), grad)


def test_the_norm_of_all_gradients_is_max_norm_afterwards() -> None:
    params = with_gradients(gradients())
    before = clip_grad_norm_(params, 0.5)
    after = clip_grad_norm_(params, 0.5)
    assert before.item() > 1
    assert after.item() == pytest.approx(0.5, rel=3e-6)  # the 1e-6 in the denominator shows


def test_dtypes_stay_and_float16_does_not_overflow() -> None:
    grads = [np.full((5, 200), 30.0, np.float16), np.ones(2, np.float32)]
    params = with_gradients(grads)
    total = clip_grad_norm_(params, 1.0)
    assert total.item() == pytest.approx(math.sqrt(1000 * 900 + 2), rel=1e-6)  # its square > 65504
    assert [p.grad.dtype for p in params if p.grad is not None] == [np.float16, np.float32]


def test_equal_gradients_do_not_add_up_their_rounding_errors() -> None:
    """Added one by one in float32, the norm of 2^20 equal numbers is off by 1e-5."""
    total = clip_grad_norm_(with_gradients([np.full((1 << 20) + 77, 0.1, np.float32)]), 1.0)
    assert total.numpy().dtype == np.float32
    exact = float(np.float32(0.1)) * math.sqrt((1 << 20) + 77)
    assert total.item() == pytest.approx(exact, rel=1e-6)


def test_one_tensor_and_no_gradient_at_all() -> None:
    (param, *_) = with_gradients([np.array([3.0, 4.0])])
    assert clip_grad_norm_(param, 1.0).item() == pytest.approx(5.0)
    param.grad = None
    assert clip_grad_norm_([param], 1.0).item() == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite(bad: float) -> None:
    grads = [np.array([1.0, bad]), np.array([2.0])]
    params = with_gradients(grads)
    with pytest.raises(RuntimeError, match=f"norm of order 2.0 is {bad}"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert params[1].grad is not None
    assert params[1].grad.tolist() == [2.0]  # refused before anything is scaled
    expected, scaled = torch_result(grads, 1.0, 2.0)
    with np.errstate(invalid="ignore"):
        total = clip_grad_norm_(params, 1.0)
    np.testing.assert_array_equal(total.item(), expected)
    for param, grad in zip(params[:-1], scaled, strict=True):
        assert param.grad is not None
        np.testing.assert_array_equal(param.grad.numpy(), grad)


def test_wrong_arguments_are_named() -> None:
    param = as_tensor(np.ones(2)).requires_grad_(True)
    with pytest.raises(ValueError, match="max_norm must be at least 0, got -1"):
        clip_grad_norm_(param, -1)
    with pytest.raises(ValueError, match="norm_type must be greater than 0"):
        clip_grad_norm_(param, 1.0, norm_type=0)
