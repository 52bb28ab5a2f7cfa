"""Activations against torch: values, gradients, large arguments, and where no derivative exists."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.support import check_op, nonzero
from tinybert import Tensor
from tinybert import functional as F

T = torch.nn.functional
SMOOTH: dict[str, tuple[Callable, Callable]] = {
    "tanh": (Tensor.tanh, torch.tanh),
    "sigmoid": (Tensor.sigmoid, torch.sigmoid),
    "silu": (F.silu, T.silu),
    "erf": (Tensor.erf, torch.erf),
    "gelu": (F.gelu, T.gelu),
    "gelu_new": (F.gelu_new, lambda x: T.gelu(x, approximate="tanh")),
    "laplace": (F.laplace, lambda x: (1 + torch.erf((x - 0.707107) / (0.282095 * 2**0.5))) / 2),
}
KINKED: dict[str, tuple[Callable, Callable]] = {
    "relu": (Tensor.relu, torch.relu),
    "relu2": (F.relu2, lambda x: torch.relu(x) ** 2),
}


@pytest.mark.parametrize("shape", [(2, 3, 11), (5,), (), (0, 3)], ids=str)
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth(name: str, shape: tuple[int, ...]) -> None:
    ours, theirs = SMOOTH[name]
    check_op(ours, theirs, shapes=[shape], domain=lambda z: 2 * z, differences=0 not in shape)


@pytest.mark.parametrize("shape", [(2, 3, 11), (5,)], ids=str)
@pytest.mark.parametrize("name", KINKED)
def test_kinked(name: str, shape: tuple[int, ...]) -> None:
    ours, theirs = KINKED[name]
    check_op(ours, theirs, shapes=[shape], domain=nonzero)
    check_op(ours, theirs, arrays=[np.array([-1.0, 0.0, -0.0, 2.0])], differences=False)


@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
def test_far_out_nothing_overflows(name: str) -> None:
    ours, theirs = {**SMOOTH, **KINKED}[name]
    check_op(
        ours, theirs, arrays=[np.array([0.5, -40.0, -9.0, 9.0, 40.0, 1e4, -1e4])], differences=False
    )


def test_float16_is_as_near_as_float16_can_be() -> None:
    x = np.linspace(-6, 6, 1001).astype(np.float16)
    for name, (ours, _) in {**SMOOTH, **KINKED}.items():
        exact = ours(Tensor(x.astype(np.float64))).numpy()
        y = ours(Tensor(x, requires_grad=True))
        y.sum().backward()
        assert y.dtype == np.float16, name
        assert np.abs(y.numpy() - exact).max() <= 4e-3 * np.abs(exact).max(), name


def test_gelu_has_two_names_for_two_functions() -> None:
    """B18: the exact one and the tanh approximation differ in the fifth digit."""
    x = Tensor(np.array([2.0]))
    phi = (1 + math.erf(2 / math.sqrt(2))) / 2
    assert F.gelu(x).item() == pytest.approx(2 * phi, rel=1e-15)
    assert round(F.gelu(x).item(), 6) == 1.954500
    assert round(F.gelu_new(x).item(), 6) == 1.954598
    assert F.gelu(x, approximate="tanh").item() == F.gelu_new(x).item()
    with pytest.raises(ValueError, match="approximate must be 'none' or 'tanh'"):
        F.gelu(x, approximate="fast")


def test_laplace_is_megas() -> None:
    """Ma et al. 2022, eq. 16: mu = sqrt(1/2), sigma = sqrt(1 / (4 pi)); half way up at mu."""
    assert F.laplace(Tensor(np.array([0.707107]))).item() == 0.5
    assert abs(math.sqrt(0.5) - 0.707107) < 1e-6
    assert abs(math.sqrt(1 / (4 * math.pi)) - 0.282095) < 1e-6


def test_integers_become_floats() -> None:
    for ours, _ in SMOOTH.values():
        assert ours(Tensor([0, 1, 2])).dtype == np.float32
