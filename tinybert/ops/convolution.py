"""Convolutions with kernels as long as the sequence, by the fast Fourier transform."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, array_module, backend_of, kernel
from tinybert.ops.arguments import converted, slices, sum_dtype, widened

LINE = 16  # float32 numbers in a line of the cache
BLOCK = 1 << 17  # numbers that are transformed at once: with their spectrum they fit the cache


class LongConvolution(Function):
    """y_t = sum_j back_j x_(t-j) + sum_j ahead_j x_(t+j), for each of the D features separately.

    `back` weights past steps, `ahead`, if it is given, future ones; j = 0 ... M - 1, and x is 0
    outside of its T steps. With both, x_t itself counts twice.
    Shapes   x, y (B, T, D)   back, ahead (D, M)
    Source   Ma et al. 2022, arXiv:2209.10655, section 3.3
    Oracle   torch.fft.rfft and irfft, or a loop over t and j

    A Fourier transform F turns the convolution into a product, in O(T log T). The sum over future
    steps is a correlation, whose transform is the complex conjugate of that of `back`:

        G = F back + conj(F ahead)          y = F^-1 (G * F x)

    The transform treats sequences as circular. With length n >= T + M - 1, the zeros that follow x
    separate its end from its beginning, in both directions.

    Backward. y is linear in x: the transpose of a step back by j is a step ahead by j, so

        dx = F^-1 (conj(G) * F dy)

    and y is linear in the kernels: dback_j = sum_t dy_t x_(t-j) and dahead_j = sum_t dy_t x_(t+j)
    are correlations of dy and x, summed over the batch,

        dback = F^-1 sum (F dy * conj(F x))          dahead = F^-1 sum (conj(F dy) * F x)

    each cut to its first M values. Saved: x and the kernels, not the spectra, which are twice as
    large as their padded sequences. At least float32.
    """

    def forward(self, x: Any, back: Any, ahead: Any = None) -> Any:
        self.x, self.back, self.ahead = x, back, ahead
        return convolution_forward(x, back, ahead)

    def backward(self, dy: Any) -> Any:
        need = (*self.needs_input_grad, False)[:3]
        gradients = convolution_backward(dy, self.x, self.back, self.ahead, need)
        return gradients[: len(self.needs_input_grad)]


def long_convolution(input: Any, back: Any, ahead: Any = None) -> Tensor:
    """Return sum_j back_j x_(t-j) + ahead_j x_(t+j), for x (B, T, D) and kernels (D, M), by FFT."""
    x = as_tensor(input)
    kernels = [as_tensor(kernel, x.device) for kernel in (back, ahead) if kernel is not None]
    if x.ndim != 3 or any(k.shape != (x.shape[2], kernels[0].shape[-1]) for k in kernels):
        shapes = ", ".join(str(t.shape) for t in (x, *kernels))
        raise ValueError(
            f"long_convolution: expected input (B, T, D) and kernels (D, M), got {shapes}"
        )
    return LongConvolution.apply(x, *kernels)


# --- the formula ----------------------------------------------------------------------------------


@kernel
def convolution_forward(x: Array, back: Array, ahead: Array | None) -> Array:
    """Return y = F^-1 (G * F x), for x (B, T, D)."""
    n = good_length(x.shape[1] + back.shape[1] - 1)
    spectrum = _response(back, ahead, n) * _spectrum(x.swapaxes(1, 2), n)  # (B, D, n // 2 + 1)
    y = _sequence(spectrum, n)[..., : x.shape[1]]
    return converted(y.swapaxes(1, 2), x.dtype)


@kernel
def convolution_backward(
    dy: Array, x: Array, back: Array, ahead: Array | None, need: tuple[bool, ...]
) -> tuple[Array | None, Array | None, Array | None]:
    """Return dx, dback and dahead, None where not needed."""
    n, width = good_length(max(x.shape[1], 1) + back.shape[1] - 1), back.shape[1]
    of_dy, of_x = (_spectrum(array.swapaxes(1, 2), n) for array in (dy, x))
    correlation = _sequence((of_dy * of_x.conj()).sum(axis=0) * n**2, n)
    dx = _sequence(_response(back, ahead, n).conj() * of_dy, n)[..., : x.shape[1]].swapaxes(1, 2)
    gradients = (
        converted(g, x.dtype) for g in (dx, correlation[:, :width], _ahead(correlation, width))
    )
    dx, dback, dahead = (g if needed else None for g, needed in zip(gradients, need, strict=True))
    return dx, dback, dahead


def _response(back: Array, ahead: Array | None, n: int) -> Array:
    """Return G * n, for a product with `_spectrum`: F^-1 of F / n by G * n.

    A conjugate spectrum belongs to the sequence in reverse, of which step j is step n - j.
    """
    kernel = array_module(back).zeros((back.shape[0], n + 1), sum_dtype(back))
    kernel[:, : back.shape[1]] = back  # steps n and 0 are one
    if ahead is not None:
        kernel[:, ::-1][:, : ahead.shape[1]] += ahead
        kernel[:, 0] += kernel[:, n]
    response = _spectrum(kernel, n)
    response *= float(n) ** 2
    return response


def _ahead(correlation: Array, width: int) -> Array:
    """Return F^-1 of the conjugate of F correlation, the first `width` values."""
    return array_module(correlation).roll(correlation[:, ::-1], 1, axis=-1)[:, :width]


def _spectrum(rows: Array, n: int) -> Array:
    """Return F rows / n, for rows (..., time).

    With that factor NumPy transforms float32 in float32; without, in float64, and then rounds.
    """
    rows = widened(rows)
    return array_module(rows).fft.rfft(rows, n, -1, norm="forward")


def _sequence(spectrum: Array, n: int) -> Array:
    """Return F^-1 spectrum, all n values, in the precision of the spectrum."""
    return array_module(spectrum).fft.irfft(spectrum, n, -1)


@lru_cache(maxsize=1024)
def good_length(least: int) -> int:
    """Return the smallest 2^a 3^b 5^c >= `least`: such lengths are transformed fast."""
    best = 1 << max(0, least - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            rest = -(-least // three)
            best = min(best, three << max(0, rest - 1).bit_length())
            three *= 3
        five *= 5
    return best


# --- in blocks ------------------------------------------------------------------------------------


@convolution_forward.on("cpu")
def convolution_in_blocks(x: Array, back: Array, ahead: Array | None) -> Array:
    """Transform some features at a time; their spectra fit the cache."""
    y, length = array_module(x).empty_like(x), x.shape[1]
    n = good_length(length + back.shape[1] - 1)

    def some(part: slice) -> None:
        batch = [transposed(x[number, :, part]) for number in range(x.shape[0])]
        for rows in _rows(part, n):
            response = _response(back[part][rows], None if ahead is None else ahead[part][rows], n)
            for lines in batch:  # (features, T)
                spectrum = _spectrum(lines[rows], n)
                spectrum *= response
                lines[rows] = converted(_sequence(spectrum, n)[:, :length], x.dtype)
        for number, lines in enumerate(batch):
            y[number, :, part] = lines.T

    backend_of(x).for_each(some, _parts(x.shape[2], n))
    return y


@convolution_backward.on("cpu")
def convolution_backward_in_blocks(
    dy: Array, x: Array, back: Array, ahead: Array | None, need: tuple[bool, ...]
) -> tuple[Array | None, Array | None, Array | None]:
    """Transform some features at a time; their spectra fit the cache."""
    xp, length, width = array_module(dy), x.shape[1], back.shape[1]
    n = good_length(max(length, 1) + width - 1)
    dx = xp.empty_like(x) if need[0] else None
    dback = xp.zeros_like(back) if need[1] else None
    dahead = xp.zeros_like(ahead) if need[2] else None

    def some(part: slice) -> None:
        numbers, of_kernels = range(x.shape[0]), need[1] or need[2]
        batch = [transposed(dy[number, :, part]) for number in numbers]
        inputs = [transposed(x[number, :, part]) if of_kernels else None for number in numbers]
        for rows in _rows(part, n):
            response = None
            if need[0]:
                of_ahead = None if ahead is None else ahead[part][rows]
                response = _response(back[part][rows], of_ahead, n).conj()
            total: Any = None  # F dy * conj(F x), summed over the batch
            for lines, of_x in zip(batch, inputs, strict=True):
                spectrum = _spectrum(lines[rows], n)
                if of_x is not None:
                    product = _spectrum(of_x[rows], n).conj()
                    product *= spectrum
                    total = product if total is None else total + product
                if response is not None:
                    spectrum *= response
                    lines[rows] = converted(_sequence(spectrum, n)[:, :length], dy.dtype)
            if total is not None:
                correlation = converted(_sequence(total, n) * float(n) ** 2, back.dtype)
                if dback is not None:
                    dback[part][rows] = correlation[:, :width]
                if dahead is not None:
                    dahead[part][rows] = _ahead(correlation, width)
        if dx is not None:
            for number, lines in enumerate(batch):
                dx[number, :, part] = lines.T

    backend_of(dy).for_each(some, _parts(x.shape[2], n) if x.shape[0] else [])
    return dx, dback, dahead


# --- on a GPU -------------------------------------------------------------------------------------

SPECTRA = 1 << 27  # numbers of a spectrum at once: 1 GiB


@convolution_forward.on("cuda")
def convolution_of_the_batch(x: Array, back: Array, ahead: Array | None) -> Array:
    """Transform the whole batch at once, some features at a time if it is large."""
    ys = [
        convolution_forward.formula(
            x[..., part], back[part], None if ahead is None else ahead[part]
        )
        for part in _large_parts(x, back)
    ]
    return ys[0] if len(ys) == 1 else array_module(x).concatenate(ys, axis=-1)


@convolution_backward.on("cuda")
def convolution_backward_of_the_batch(
    dy: Array, x: Array, back: Array, ahead: Array | None, need: tuple[bool, ...]
) -> tuple[Array | None, Array | None, Array | None]:
    """Transform the whole batch at once, some features at a time if it is large."""
    parts = [
        convolution_backward.formula(
            dy[..., part], x[..., part], back[part], None if ahead is None else ahead[part], need
        )
        for part in _large_parts(x, back)
    ]
    if len(parts) == 1:
        return parts[0]
    joined = array_module(dy).concatenate
    dx, dback, dahead = (
        joined(some, axis=axis) if some[0] is not None else None
        for some, axis in zip(zip(*parts, strict=True), (-1, 0, 0), strict=True)
    )
    return dx, dback, dahead


def _large_parts(x: Array, back: Array) -> list[slice]:
    """Return the features in shares whose spectra fit the memory of a GPU."""
    batch, length, features = x.shape
    size = max(1, batch) * good_length(length + back.shape[1] - 1)
    return slices(features, max(1, SPECTRA // size)) or [slice(0, 0)]


def _parts(features: int, n: int) -> list[slice]:
    """Return the features in shares of work, at least as many as fill a line of the cache."""
    return slices(features, max(LINE, BLOCK // n))


def _rows(part: slice, n: int) -> list[slice]:
    """Return the features of a share, as many at a time as are transformed at once."""
    return slices(part.stop - part.start, max(1, BLOCK // n))


@kernel
def transposed(x: Array) -> Array:
    """Return x (T, D) as a new array (D, T) in C order."""
    return x.T.copy()


STRIP = 512  # rows transposed at once: they stay in the cache until all columns are written


@transposed.on("cpu")
def transposed_on_cpu(x: Array) -> Array:
    """Copy strips of rows; D should be no more than some lines of the cache.

    NumPy's own copy walks column by column through all of x, and so loads every line D times.
    """
    y = np.empty(x.shape[::-1], x.dtype)
    for at in range(0, x.shape[0], STRIP):
        y[:, at : at + STRIP] = x[at : at + STRIP].T
    return y
