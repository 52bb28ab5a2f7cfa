"""The error function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, array_module, cpu, kernel
from tinybert.ops.arguments import as_floating


class Erf(Function):
    """y = erf(x). dx = dy * 2 / sqrt(pi) * exp(-x^2)."""

    half_on = ""

    def forward(self, x: Any) -> Any:
        self.x = as_floating(x)
        return erf_forward(self.x)

    def backward(self, dy: Any) -> Any:
        with np.errstate(over="ignore", under="ignore"):  # x^2 may be infinite: exp gives 0
            return dy * (array_module(dy).exp(-self.x * self.x) * (2 / math.sqrt(math.pi)))


def erf(input: Any) -> Tensor:
    """Return the error function of every element."""
    return Erf.apply(as_tensor(input))


# --- kernel ---------------------------------------------------------------------------------------


@kernel
def erf_forward(x: Array) -> Array:
    """Return erf(x) = 2/sqrt(pi) * integral from 0 to x of exp(-t^2) dt, in the dtype of x."""
    xp = array_module(x)
    return erf_float64(x.astype(xp.float64), xp).astype(x.dtype)


# erf(x / sqrt 2) = tanh(x * P(x^2)): atanh(erf) is so smooth that a short polynomial gives float32
# its full precision, and NumPy's tanh is vectorised, while NumPy has no erf. The coefficients were
# fitted by tests/backend/fit_erf.py: used in float64, they keep the relative error below 1e-8.
_ERF_P = (
    0.797884568684, 0.0363354498826, -3.65385274932e-05, -5.26114418342e-05,
    3.06050132639e-06, 3.00349983395e-08, -1.43339633518e-08, 8.69140729767e-10,
    -2.36226035594e-11, 2.50070404284e-13,
)  # fmt: skip
_LIMIT = 5.6  # they were fitted for |x| up to here, beyond which erf(x / sqrt 2) is 1 in float32


@erf_forward.on("cpu")
def erf_on_cpu(x: Array) -> Array:
    """Evaluate the polynomial in blocks; float64 and float16 take the formula."""
    if x.dtype != np.float32:
        return erf_forward.formula(x)
    flat, y = np.ascontiguousarray(x).reshape(-1), np.empty(x.size, x.dtype)

    def work(block: slice) -> None:
        scaled = flat[block].astype(np.float64) * math.sqrt(2)
        np.clip(scaled, -_LIMIT, _LIMIT, out=scaled)
        value = np.empty_like(scaled)
        cpu.times_polynomial(scaled, _ERF_P, value)
        y[block] = np.tanh(value, out=value)

    cpu.in_blocks(work, y.size, 1)
    return y.reshape(x.shape)


# --- the formula in float64 -----------------------------------------------------------------------

# Rational approximations of W. J. Cody, "Rational Chebyshev approximations for the error function",
# Math. Comp. 23 (1969): one for erf near zero, two for erfc further out, good to about one unit in
# the last place of a double.

# |x| <= 0.5:  erf(x) = x * P(x^2) / Q(x^2)
_NEAR_P = (
    1.85777706184603153e-1,
    3.16112374387056560,
    113.864154151050156,
    377.485237685302021,
    3209.37758913846947,
)
_NEAR_Q = (1.0, 23.6012909523441209, 244.024637934444173, 1282.61652607737228, 2844.23683343917062)
# 0.5 < |x| <= 4:  erfc(x) = exp(-x^2) * P(x) / Q(x)
_MID_P = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 66.1191906371416295,
    298.635138197400131, 881.952221241769090, 1712.04761263407058, 2051.07837782607147,
    1230.33935479799725,
)  # fmt: skip
_MID_Q = (
    1.0, 15.7449261107098347, 117.693950891312499, 537.181101862009858, 1621.38957456669019,
    3290.79923573345963, 4362.61909014324716, 3439.36767414372164, 1230.33935480374942,
)  # fmt: skip
# |x| > 4:  erfc(x) = exp(-x^2) / x * (1 / sqrt(pi) - x^-2 * P(x^-2) / Q(x^-2))
_FAR_P = (
    1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
    1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4,
)  # fmt: skip
_FAR_Q = (
    1.0, 2.56852019228982242, 1.87295284992346725,
    5.27905102951428412e-1, 6.05183413124413191e-2, 2.33520497626869185e-3,
)  # fmt: skip
_RSQRT_PI = 0.56418958354775628695


def erf_float64(x: Any, xp: Any) -> Any:
    """Return erf(x) for a float64 array, within about 2e-16; `xp` is its array module."""
    size = xp.abs(x)
    near = xp.minimum(size, 0.5)
    mid = xp.clip(size, 0.5, 4.0)
    far = xp.clip(size, 4.0, 6.0)  # erf(6) is 1 in float64
    small = near * _horner(near * near, _NEAR_P) / _horner(near * near, _NEAR_Q)
    middle = 1 - xp.exp(-mid * mid) * _horner(mid, _MID_P) / _horner(mid, _MID_Q)
    inverse = 1 / (far * far)
    ratio = inverse * _horner(inverse, _FAR_P) / _horner(inverse, _FAR_Q)
    large = 1 - xp.exp(-far * far) / far * (_RSQRT_PI - ratio)
    value = xp.where(size <= 0.5, small, xp.where(size <= 4.0, middle, large))
    return xp.where(xp.isnan(x), x, xp.copysign(value, x))


def _horner(x: Any, coefficients: tuple[float, ...]) -> Any:
    """Evaluate a polynomial, highest power first."""
    total = coefficients[0] + 0 * x
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total
