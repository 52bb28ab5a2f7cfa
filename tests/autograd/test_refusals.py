"""Arguments of NumPy and torch in places that take Tensors, and what is refused by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tinybert import Tensor
from tinybert import functional as F
from tinybert.optim import SGD, clip_grad_norm_


def test_in_place_operands_that_do_not_fit_are_named() -> None:
    x = Tensor(np.zeros((2, 3), np.float32))
    for name in ("add_", "mul_", "copy_"):
        for shape in ((2,), (4, 3), (1, 2, 3), (2, 2)):
            with pytest.raises(ValueError, match=rf"{name}: shape .* not broadcast to \(2, 3\)"):
                getattr(x, name)(np.ones(shape))
        getattr(x, name)(np.ones((2, 1)))
        getattr(x, name)(2)
    with pytest.raises(ValueError, match=r"assignment: shape \(4,\) does not .* to \(3,\), the"):
        x[0] = np.ones(4)
    assert x._version.count == 7  # six changes, and the assignment that failed


def test_masks_of_numpy() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    for mask in (np.bool_(True), True, np.array([True, True])):
        assert F.masked_fill(x, mask, 5.0).tolist() == [5, 5]
    assert x.masked_fill(np.bool_(False), 5.0).tolist() == [1, 2]


def test_the_largest_gradient_may_be_asked_for_as_torch_does() -> None:
    for order in ("inf", math.inf):
        x = Tensor([3.0, 4.0], requires_grad=True)
        x.backward(np.array([3.0, -4.0]))
        assert clip_grad_norm_(x, 1.0, norm_type=order).item() == 4
    for wrong in ("max", None, 0, -1, math.nan):
        x.backward(np.ones(2))
        with pytest.raises(ValueError, match="norm_type must be greater than 0"):
            clip_grad_norm_(x, 1.0, norm_type=wrong)  # type: ignore[arg-type]


def test_a_gradient_that_is_no_tensor_is_refused_where_it_is_used() -> None:
    x: Any = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    x.grad = np.ones(3)
    with pytest.raises(TypeError, match=r"\.grad must be a Tensor or None, got ndarray"):
        SGD([x], lr=0.1).step()
    with pytest.raises(TypeError, match=r"\.grad must be a Tensor or None, got ndarray"):
        clip_grad_norm_(x, 1.0)


@pytest.mark.parametrize(
    "name", ["exp", "tanh", "sigmoid", "silu", "relu", "gelu", "gelu_new", "laplace", "erf"]
)
def test_numpy_errors_that_raise_do_not_stop_an_activation(name: str) -> None:
    for dtype in (np.float16, np.float32, np.float64):
        for limit in (80.0, 1e4, 1e19):
            if (name == "exp" and limit > 80) or (dtype == np.float16 and limit > 1e4):
                continue
            if name == "exp" and dtype == np.float16:
                continue  # exp(80) is infinite
            x = Tensor(np.array([0, limit, -limit, 1, -20], dtype), requires_grad=True)
            with np.errstate(over="raise", invalid="raise", divide="raise"):
                y = getattr(F, name)(x)
                y.backward(np.ones(5, dtype))
            assert np.isfinite(y.numpy()).all()
            assert x.grad is not None
            assert np.isfinite(x.grad.numpy()).all()
