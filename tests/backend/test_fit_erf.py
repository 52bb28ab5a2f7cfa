"""The polynomial of erf and GELU: derived again, and as precise as torch's."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests import support, tolerances
from tests.backend.fit_erf import LIMIT, remez
from tinybert.ops.erf import _ERF_P, erf_float64, erf_forward
from tinybert.ops.gelu import _GELU_P, gelu_forward

X = np.linspace(-8, 8, 400_001, dtype=np.float32)
DOUBLES = X.astype(np.float64).tolist()


@pytest.mark.parametrize(
    ("coefficients", "relative"), [(_ERF_P, True), (_GELU_P, False)], ids=["erf", "gelu"]
)
def test_coefficients_are_those_of_the_script(
    coefficients: tuple[float, ...], relative: bool
) -> None:
    fitted, worst = remez(len(coefficients) - 1, relative)
    np.testing.assert_allclose(coefficients, fitted, rtol=1e-9)
    x = np.linspace(1e-3, LIMIT, 10_000)
    polynomial = np.polynomial.polynomial.polyval(x * x, coefficients)
    exact = np.array([math.erf(v / math.sqrt(2)) for v in x])
    error = np.abs(np.tanh(x * polynomial) - exact) / (exact if relative else 1)
    assert error.max() < 1.02 * worst  # as small as the script says, to first order in the error
    assert worst < tolerances.FLOAT32_EPS / 2


def phi(x: float) -> float:
    """The normal distribution function."""
    return math.erfc(-x / math.sqrt(2)) / 2


def density(x: float) -> float:
    """The normal density."""
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def torch_slope(x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    torch.nn.functional.gelu(x).sum().backward()
    assert x.grad is not None
    return x.grad


@pytest.mark.parametrize(
    ("ours", "theirs", "exact"),
    [
        (erf_forward, torch.erf, math.erf),
        (lambda x: gelu_forward(x, False)[0], torch.nn.functional.gelu, lambda x: x * phi(x)),
        (lambda x: gelu_forward(x, True)[0], torch.nn.functional.gelu, lambda x: x * phi(x)),
        (lambda x: gelu_forward(x, True)[1], torch_slope, lambda x: phi(x) + x * density(x)),
    ],
    ids=["erf", "gelu", "gelu in training", "slope of gelu"],
)
@pytest.mark.parametrize("widest", [1, 3, 8])
def test_float32_errors_are_torchs(
    ours: Callable, theirs: Callable, exact: Callable[[float], float], widest: float
) -> None:
    inside = np.abs(X) <= widest
    expected = np.array([exact(x) for x in DOUBLES])
    errors = np.abs(ours(X) - expected)[inside]
    torchs = np.abs(theirs(torch.from_numpy(X)).numpy() - expected)[inside]
    assert errors.max() <= tolerances.OP_FLOAT32_RATIO * torchs.max()
    assert support.rms(errors) <= tolerances.OP_FLOAT32_RATIO * support.rms(torchs)


def test_float64_erf_is_that_of_the_library() -> None:
    exact = np.array([math.erf(x) for x in DOUBLES])
    ours = erf_float64(X.astype(np.float64), np)
    assert np.abs(ours - exact).max() <= 2 * tolerances.FLOAT64_EPS
    tiny = np.array([1e-300, -1e-20, 0.0, -0.0])
    np.testing.assert_allclose(erf_float64(tiny, np), tiny * 2 / math.sqrt(math.pi), rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_far_out(dtype: str) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 6e4, -6e4], dtype)
    erf = erf_forward(x)
    np.testing.assert_array_equal(erf, np.array([1, -1, np.nan, 0, -0.0, 1, -1], dtype))
    assert np.signbit(erf[4])
    y, slope = gelu_forward(x[[3, 5, 6]], True)
    np.testing.assert_array_equal(y, np.array([0, 6e4, 0], dtype))
    np.testing.assert_array_equal(slope, np.array([0.5, 1, 0], dtype))
