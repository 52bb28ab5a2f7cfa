"""The real Fourier transform and its inverse against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.support import check_op
from tinybert.autograd import Tensor


def spectrum(shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@pytest.mark.parametrize("n", [None, 1, 2, 5, 6, 7, 8, 11])
@pytest.mark.parametrize(
    ("shape", "axis"), [((7,), 0), ((6,), -1), ((2, 7, 3), 1), ((6, 2), -2), ((1, 3, 1, 6), -1)]
)
def test_rfft(shape: tuple[int, ...], axis: int, n: int | None) -> None:
    check_op(lambda x: x.rfft(n, axis), lambda x: torch.fft.rfft(x, n=n, dim=axis), shapes=[shape])


@pytest.mark.parametrize("n", [None, 1, 2, 5, 6, 7, 8, 11])
@pytest.mark.parametrize(
    ("shape", "axis"), [((4,), 0), ((5,), -1), ((2, 4, 3), 1), ((5, 2), -2), ((1, 3, 1, 4), -1)]
)
def test_irfft(shape: tuple[int, ...], axis: int, n: int | None) -> None:
    check_op(
        lambda x: x.irfft(n, axis),
        lambda x: torch.fft.irfft(x, n=n, dim=axis),
        arrays=[spectrum(shape)],
    )


def test_irfft_of_real_values() -> None:
    check_op(lambda x: x.irfft(5), lambda x: torch.fft.irfft(x, n=5), shapes=[(2, 4)])


@pytest.mark.parametrize("length", [5, 8])
def test_long_convolution(length: int) -> None:
    """What MEGA does with it: the causal convolution, padded to twice the length."""
    n = 2 * length

    def ours(x: Tensor, kernel: Tensor) -> Tensor:
        return (x.rfft(n) * kernel.rfft(n)).irfft(n)[..., :length]

    def theirs(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        wide = torch.nn.functional.pad(x, (length - 1, 0))[:, None]
        return torch.nn.functional.conv1d(wide, kernel.flip(0)[None, None])[:, 0]

    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((3, length)), rng.standard_normal(length)
    expected = [np.convolve(row, kernel)[:length] for row in x]
    np.testing.assert_allclose(ours(Tensor(x), Tensor(kernel)).numpy(), expected, atol=1e-12)
    check_op(ours, theirs, shapes=[(3, length), (length,)])


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        (np.float16, np.complex64),
        (np.float32, np.complex64),
        (np.float64, np.complex128),
        (np.int64, np.complex64),
        (bool, np.complex64),
    ],
)
def test_dtypes(dtype: Any, result: Any) -> None:
    x = Tensor(np.array([1, 0, 1, 1], dtype))
    if x.dtype.kind == "f":
        x.requires_grad_()
    y = x.rfft()
    assert y.dtype == result
    np.testing.assert_allclose(y.numpy(), np.fft.rfft(x.data))
    z = y.irfft()
    assert z.dtype == (np.float64 if dtype is np.float64 else np.float32)
    if x.requires_grad:
        z.backward(np.array([1.0, 2, 3, 4]))
        assert x.grad is not None
        assert x.grad.dtype == dtype
        np.testing.assert_allclose(x.grad.numpy(), [1, 2, 3, 4], rtol=1e-6)


def test_no_rows() -> None:
    y = Tensor(np.zeros((0, 6), np.float32), requires_grad=True).rfft()
    assert y.shape == (0, 4)
    y.irfft().backward(np.zeros((0, 6)))


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (
            lambda x: x.rfft(0),
            ValueError,
            "n, the number of real values, must be at least 1, got 0",
        ),
        (lambda x: x.irfft(-1), ValueError, "irfft: n, .* got -1"),
        (lambda x: x[:, :1].irfft(), ValueError, "irfft: n, .* got 0"),
        (lambda x: x.rfft(axis=2), ValueError, "axis must be from -2 to 1"),
        (lambda x: x.rfft().rfft(), TypeError, "rfft: x must be real, got complex128"),
    ],
)
def test_wrong_arguments_are_named(run: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(Tensor(np.zeros((2, 3))))
