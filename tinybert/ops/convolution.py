"""Convolutions as long as the sequence itself, by the fast Fourier transform."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tinybert.autograd import Function
from tinybert.backend import array_module, kernels_of
from tinybert.ops.reductions import widened

LINE = 16  # float32 numbers in a line of the cache
BLOCK = 1 << 17  # numbers that are transformed at once: with their spectrum they fit the cache


class LongConvolution(Function):
    """y_t = sum_j back_j x_(t-j) + sum_j ahead_j x_(t+j), each of the D features on its own.

    `back` looks at the past, `ahead`, if there is one, at what is to come; j = 0 ... M - 1, and x
    is 0 outside of its T steps. With both, x_t itself counts twice.
    Shapes   x, y (B, T, D)   back, ahead (D, M)
    Source   Ma et al. 2022, arXiv:2209.10655, section 3.3
    Oracle   torch.fft.rfft and irfft, or a loop over t and j

    A Fourier transform F turns the convolution into a product, in O(T log T). A look ahead is a
    correlation, whose transform is the complex conjugate of that of `back`:

        G = F back + conj(F ahead)          y = F^-1 (G * F x)

    The transform takes sequences as circles. On one of n >= T + M - 1 places the zeros that follow
    x keep its end from reaching its beginning, in both directions.

    Backward. y is linear in x: the transpose of a look back by j is a look ahead by j, so

        dx = F^-1 (conj(G) * F dy)

    and y is linear in the kernels: dback_j = sum_t dy_t x_(t-j) and dahead_j = sum_t dy_t x_(t+j)
    are correlations of dy and x, summed over the batch,

        dback = F^-1 sum (F dy * conj(F x))          dahead = F^-1 sum (conj(F dy) * F x)

    each cut to its first M values. Saved: x and the kernels, not the spectra, which are twice as
    large as their padded sequences. At least float32.
    """

    def forward(self, x: Any, back: Any, ahead: Any = None) -> Any:
        self.x, self.back, self.ahead = x, back, ahead
        self.n = good_length(x.shape[1] + back.shape[1] - 1)
        y, length, transposed = array_module(x).empty_like(x), x.shape[1], kernels_of(x).transposed

        def some(part: slice) -> None:
            batch = [transposed(x[number, :, part]) for number in range(x.shape[0])]
            for rows in self._rows(part):
                response = self._response(part, rows)
                for lines in batch:  # (features, T)
                    spectrum = self._spectrum(lines[rows])
                    spectrum *= response
                    lines[rows] = self._sequence(spectrum)[:, :length]
            for number, lines in enumerate(batch):
                y[number, :, part] = lines.T

        kernels_of(x).for_each(some, self._parts(x.shape[2]))
        return y

    def backward(self, dy: Any) -> Any:
        x, xp, transposed = self.x, array_module(dy), kernels_of(dy).transposed
        length, width = x.shape[1], self.back.shape[1]
        need = (*self.needs_input_grad, False)[:3]
        dx = xp.empty_like(x) if need[0] else None
        dback = xp.zeros_like(self.back) if need[1] else None
        dahead = xp.zeros_like(self.ahead) if need[2] else None

        def some(part: slice) -> None:
            numbers, of_kernels = range(x.shape[0]), need[1] or need[2]
            batch = [transposed(dy[number, :, part]) for number in numbers]
            inputs = [transposed(x[number, :, part]) if of_kernels else None for number in numbers]
            for rows in self._rows(part):
                response = self._response(part, rows).conj() if need[0] else None
                total: Any = None  # F dy * conj(F x), summed over the batch
                for lines, of_x in zip(batch, inputs, strict=True):
                    spectrum = self._spectrum(lines[rows])
                    if of_x is not None:
                        product = self._spectrum(of_x[rows]).conj()
                        product *= spectrum
                        total = product if total is None else total + product
                    if response is not None:
                        spectrum *= response
                        lines[rows] = self._sequence(spectrum)[:, :length]
                if dback is not None:
                    dback[part][rows] = self._sequence(total)[:, :width] * self._scale
                if dahead is not None:
                    dahead[part][rows] = self._sequence(total.conj())[:, :width] * self._scale
            if dx is not None:
                for number, lines in enumerate(batch):
                    dx[number, :, part] = lines.T

        kernels_of(dy).for_each(some, self._parts(x.shape[2]) if x.shape[0] else [])
        return (dx, dback, dahead)[: len(self.needs_input_grad)]

    def _parts(self, features: int) -> list[slice]:
        """The features in shares of work: no fewer than lie in one line of the cache."""
        return _cut(features, max(LINE, BLOCK // self.n))

    def _rows(self, part: slice) -> list[slice]:
        """The features of a share, as many as are transformed at once."""
        return _cut(part.stop - part.start, max(1, BLOCK // self.n))

    @property
    def _scale(self) -> float:
        """What takes the factors 1 / n of two spectra back."""
        return float(self.n) ** 2

    def _response(self, part: slice, rows: slice) -> Any:
        """G of some features, for a product with `_spectrum`."""
        response = self._spectrum(self.back[part][rows])
        if self.ahead is not None:
            response += self._spectrum(self.ahead[part][rows]).conj()
        response *= self._scale
        return response

    def _spectrum(self, rows: Any) -> Any:
        """F rows / n, for rows (features, time).

        With that factor NumPy transforms float32 in float32; without, in float64, and then rounds.
        """
        rows = widened(rows)
        return array_module(rows).fft.rfft(rows, self.n, -1, norm="forward")

    def _sequence(self, spectrum: Any) -> Any:
        """F^-1 spectrum, all n values, in the precision of the spectrum."""
        return array_module(spectrum).fft.irfft(spectrum, self.n, -1)


@lru_cache(maxsize=1024)
def good_length(least: int) -> int:
    """The smallest 2^a 3^b 5^c from `least` on: lengths that are transformed fast."""
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


def _cut(count: int, size: int) -> list[slice]:
    return [slice(at, min(at + size, count)) for at in range(0, count, size)]
