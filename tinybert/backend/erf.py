"""The error function in float64, for array libraries that have none (NumPy).

Rational approximations of W. J. Cody, "Rational Chebyshev approximations for the error function",
Math. Comp. 23 (1969): one for erf near zero, two for erfc further out, good to about one unit in
the last place of a double. The float32 form that BERT's GELU uses is in `cpu.py`.
"""

from __future__ import annotations

from typing import Any

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
    """erf(x) for a float64 array, within about 2e-16; `xp` is its array module."""
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
