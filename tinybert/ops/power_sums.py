"""Sums of powers, such as the kernel of a moving average, and the transpose of this map."""

from __future__ import annotations

import math
from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.arguments import unbroadcast


class PowerSums(Function):
    """y_t = sum_n weight_n base_n^t for t = 0 ... T - 1: the kernel of N decaying states.

    Shapes   weight (..., D, N)   base (D, N)   y (..., D, T), each of the D features separately
    Source   Ma et al. 2022, arXiv:2209.10655, section 3.3: MEGA's kernel, with
             weight = gamma * delta-gated beta and base the decay phi

    The map from weight to y is the Vandermonde matrix of the bases, that of `Polynomials` its
    transpose. Hence dweight = Polynomials(dy), and

        dbase_n = sum_t dy_t weight_n t base_n^(t-1)
                = weight_n * (the polynomial with coefficients 1 dy_1, 2 dy_2, ... at base_n)

    Time and memory: a T x N table of powers would be N times as large as y. With t = r S + s, where
    S is about sqrt(T), base^t = base^(rS) base^s, and 2 N sqrt(T) powers and one product of
    matrices (R x N) @ (N x S) are enough. Saved: weight, and those powers.
    """

    half_on = ""

    def forward(self, weight: Any, base: Any, *, length: int) -> Any:
        self.weight, self.shape, self.powers = weight, base.shape, _powers(base, length)
        return _power_sums(weight, self.powers, length)

    def backward(self, dy: Any) -> Any:
        need = self.needs_input_grad
        dweight = _polynomials(dy, self.powers) if need[0] else None
        dbase = (
            unbroadcast(self.weight * _polynomials(_derived(dy), self.powers), self.shape)
            if need[1]
            else None
        )
        return dweight, dbase


def power_sums(weight: Any, base: Any, length: int) -> Tensor:
    """Return sum_n weight_n base_n^t for t < length: (..., D, N) and (D, N) to (..., D, length)."""
    x = as_tensor(weight)
    return PowerSums.apply(x, as_tensor(base, x.device), length=length)


class Polynomials(Function):
    """y_n = sum_t coefficient_t base_n^t: polynomials, each at N points.

    Shapes   coefficient (..., D, T)   base (D, N)   y (..., D, N), each feature separately
    Oracle   numpy.polynomial.polynomial.polyval

    The transpose of `PowerSums` in the coefficients, and computed in the same way:
    dcoefficient = PowerSums(dy), and dbase = dy * (the derived polynomial at base).
    """

    half_on = ""

    def forward(self, coefficient: Any, base: Any) -> Any:
        self.coefficient, self.shape = coefficient, base.shape
        self.powers = _powers(base, coefficient.shape[-1])
        return _polynomials(coefficient, self.powers)

    def backward(self, dy: Any) -> Any:
        need, length = self.needs_input_grad, self.coefficient.shape[-1]
        dcoefficient = _power_sums(dy, self.powers, length) if need[0] else None
        dbase = (
            unbroadcast(dy * _polynomials(_derived(self.coefficient), self.powers), self.shape)
            if need[1]
            else None
        )
        return dcoefficient, dbase


def polynomials(coefficient: Any, base: Any) -> Tensor:
    """Return sum_t coefficient_t base_n^t: (..., D, T) and (D, N) to (..., D, N)."""
    x = as_tensor(coefficient)
    return Polynomials.apply(x, as_tensor(base, x.device))


def _power_sums(weight: Any, tables: tuple[Any, Any], length: int) -> Any:
    powers, leaps = tables  # (D, N, S), (D, N, R)
    rows = (weight[..., None] * leaps).swapaxes(-1, -2)  # (..., D, R, N)
    sums = rows @ powers  # (..., D, R, S)
    return sums.reshape(*sums.shape[:-2], sums.shape[-2] * sums.shape[-1])[..., :length]


def _polynomials(coefficient: Any, tables: tuple[Any, Any]) -> Any:
    (powers, leaps), length, table = tables, coefficient.shape[-1], coefficient
    steps, size = leaps.shape[-1], powers.shape[-1]
    if length < steps * size:
        table = array_module(coefficient).zeros((*table.shape[:-1], steps * size), powers.dtype)
        table[..., :length] = coefficient
    table = table.reshape(*coefficient.shape[:-1], steps, size)
    inner = table @ powers.swapaxes(-1, -2)  # (..., D, R, N)
    return (inner * leaps.swapaxes(-1, -2)).sum(axis=-2)


def _powers(base: Any, length: int) -> tuple[Any, Any]:
    """Return base^s for s < S, (D, N, S), and base^(r S) for r < R, (D, N, R); R S >= length."""
    size = max(1, math.isqrt(length))
    steps = -(-length // size)
    wide = base.astype("float64")  # the powers are rounded only once
    powers = _consecutive_powers(wide, size)
    leaps = _consecutive_powers(powers[..., -1] * wide, steps)
    return powers.astype(base.dtype, copy=False), leaps.astype(base.dtype, copy=False)


def _consecutive_powers(base: Any, count: int) -> Any:
    """Return base^0, base^1, ... (..., count): each step doubles how many are known."""
    y = array_module(base).ones((*base.shape, count), base.dtype)
    known, step = 1, base[..., None]  # step is base^known
    while known < count:
        width = min(known, count - known)
        y[..., known : known + width] = y[..., :width] * step
        known, step = 2 * known, step * step
    return y


def _derived(coefficient: Any) -> Any:
    """Return the coefficients of the derivative: 1 c_1, 2 c_2, ..."""
    factors = array_module(coefficient).arange(1, max(coefficient.shape[-1], 1))
    return coefficient[..., 1:] * factors.astype(coefficient.dtype)
