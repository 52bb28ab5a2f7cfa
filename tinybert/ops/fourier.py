"""The discrete Fourier transform of real values, and its inverse (MEGA's long convolution)."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.backend import array_module
from tinybert.ops.arguments import as_floating, converted, normal_axis, widened


class RFFT(Function):
    """y_k = sum_t x_t exp(-2 pi i k t / n) for k = 0 ... n // 2; the other half is its mirror.

    x is cut, or padded with zeros, to n values along `axis`.
    Shapes   x (..., T, ...) real   y (..., n // 2 + 1, ...) complex
    Oracle   torch.fft.rfft

    Backward. A change of x changes L by Re sum_k conj(dy_k) exp(-2 pi i k t / n), hence

        dx_t = Re sum_{k <= n/2} dy_k exp(+2 pi i k t / n)

    The inverse transform is almost this sum: (irfft z)_t = 1/n Re sum_k c_k z_k exp(2 pi i k t/n),
    with c_k = 2 for those k whose mirror image n - k is another one, and 1 for k = 0 and, if n is
    even, k = n/2. Therefore dx = n * irfft(dy / c). Values of x beyond n took no part: dx = 0.
    """

    def forward(self, x: Any, *, n: int | None, axis: int) -> Any:
        if x.dtype.kind == "c":
            raise TypeError(f"rfft: x must be real, got {x.dtype}")
        x = as_floating(x)
        self.axis, self.dtype = normal_axis(axis, x.ndim), x.dtype
        self.length = x.shape[self.axis]
        self.n = _length("rfft", self.length if n is None else n)
        return _rfft(x, self.n, self.axis)

    def backward(self, dy: Any) -> Any:
        scaled = dy * (self.n / _multiplicity(dy, self.n, self.axis))
        dx = _irfft(scaled, self.n, self.axis)
        return converted(_resized(dx, self.length, self.axis), self.dtype)


@torch_keywords(dim="axis")
def rfft(input: Any, n: int | None = None, axis: int = -1) -> Tensor:
    """Return the Fourier transform of real values: complex, n // 2 + 1 long along `axis`."""
    return RFFT.apply(as_tensor(input), n=n, axis=axis)


class IRFFT(Function):
    """y_t = 1/n Re sum_k c_k x_k exp(+2 pi i k t / n) for t = 0 ... n - 1: the inverse of `RFFT`.

    c_k = 1 for k = 0 and, if n is even, for k = n/2; otherwise 2 (see `RFFT`). x is cut, or padded
    with zeros, to n // 2 + 1 values along `axis`; n is 2 (K - 1) unless given.
    Shapes   x (..., K, ...) complex   y (..., n, ...) real
    Oracle   torch.fft.irfft

    Backward. A change of x_k changes L by Re sum_t dy_t c_k/n exp(2 pi i k t / n) * change, which
    equals Re conj(dx_k) * change, hence

        dx_k = c_k/n sum_t dy_t exp(-2 pi i k t / n) = c_k/n (rfft dy)_k

    Values of x beyond n // 2 took no part: their gradient is 0.
    """

    def forward(self, x: Any, *, n: int | None, axis: int) -> Any:
        x = as_floating(x)
        self.axis, self.dtype = normal_axis(axis, x.ndim), x.dtype
        self.length = x.shape[self.axis]
        self.n = _length("irfft", 2 * (self.length - 1) if n is None else n)
        return converted(_irfft(widened(x), self.n, self.axis), x.real.dtype)

    def backward(self, dy: Any) -> Any:
        dx = _rfft(dy, self.n, self.axis) * (_multiplicity(dy, self.n, self.axis) / self.n)
        dx = _resized(dx, self.length, self.axis)
        return converted(dx if self.dtype.kind == "c" else dx.real, self.dtype)


@torch_keywords(dim="axis")
def irfft(input: Any, n: int | None = None, axis: int = -1) -> Tensor:
    """Return the inverse of `rfft`: n real values along `axis`."""
    return IRFFT.apply(as_tensor(input), n=n, axis=axis)


def _length(name: str, n: int) -> int:
    if n < 1:
        raise ValueError(f"{name}: n, the number of real values, must be at least 1, got {n}")
    return n


def _rfft(x: Any, n: int, axis: int) -> Any:
    """Return the transform in the precision of x."""
    return array_module(x).fft.rfft(widened(x), n, axis)


def _irfft(x: Any, n: int, axis: int) -> Any:
    return array_module(x).fft.irfft(x, n, axis)


def _multiplicity(like: Any, n: int, axis: int) -> Any:
    """Return c_k along `axis`: how many of the n frequencies share value k of the half spectrum."""
    xp = array_module(like)
    c = xp.full(
        n // 2 + 1, 2, dtype="float64" if like.dtype in ("float64", "complex128") else "float32"
    )
    c[0] = 1
    if n % 2 == 0:
        c[-1] = 1
    return c.reshape((-1,) + (1,) * (like.ndim - 1 - axis))


def _resized(x: Any, length: int, axis: int) -> Any:
    """Return x cut, or padded with zeros at the end, to `length` along `axis`."""
    front = (slice(None),) * axis
    if x.shape[axis] >= length:
        return x[(*front, slice(length))]
    y = array_module(x).zeros((*x.shape[:axis], length, *x.shape[axis + 1 :]), x.dtype)
    y[(*front, slice(x.shape[axis]))] = x
    return y
