"""Derives the coefficients of erf in `tinybert/ops/erf.py` and `gelu.py`; run it to print them.

erf(x / sqrt 2) = tanh(x P(x^2)) asks for P(x^2) = atanh(erf(x / sqrt 2)) / x, which is smooth and
almost constant. Remez's exchange finds the polynomial whose largest error on 0 < x <= LIMIT is as
small as possible: at the best polynomial of degree n the error reaches its largest size n + 2
times with alternating signs (Chebyshev's criterion), so solve for a polynomial that has equal
errors of alternating signs at n + 2 points, move the points to where its error is largest, repeat.
"""

from __future__ import annotations

import math

import numpy as np

LIMIT = 5.6  # 1 - erf(5.6 / sqrt 2) is 2e-8: less than half a unit in the last place of float32
POINTS = 4000


def remez(degree: int, relative: bool) -> tuple[np.ndarray, float]:
    """The coefficients of P, lowest power first, and the largest error of tanh(x P(x^2)).

    The error that is made small is that of erf, `relative` to erf or absolute: an error of P times
    x is one of atanh(erf), and times 1 - erf^2, the derivative of tanh, one of erf.
    """
    x = LIMIT * (1 - np.cos(np.linspace(1e-3, math.pi, POINTS))) / 2  # denser at both ends
    erf = np.array([math.erf(v / math.sqrt(2)) for v in x])
    erfc = np.array([math.erfc(v / math.sqrt(2)) for v in x])
    wanted = (np.log1p(erf) - np.log(erfc)) / 2 / x
    weight = erfc * (1 + erf) * x / (erf if relative else 1.0)
    powers = np.polynomial.chebyshev.chebvander(2 * (x / LIMIT) ** 2 - 1, degree)
    signs = (-1.0) ** np.arange(degree + 2)
    chosen = np.round((POINTS - 1) * (1 - np.cos(np.linspace(0, math.pi, degree + 2))) / 2)
    chosen = chosen.astype(int)
    while True:
        system = np.column_stack([powers[chosen], signs / weight[chosen]])
        factors = np.linalg.solve(system, wanted[chosen])[:-1]
        error = (wanted - powers @ factors) * weight
        peaks = _peaks(error, degree + 2)
        if np.array_equal(peaks, chosen):
            break
        chosen = peaks
    series = np.polynomial.Chebyshev(factors, domain=[0, LIMIT**2])
    return series.convert(kind=np.polynomial.Polynomial).coef, float(np.abs(error).max())


def _peaks(error: np.ndarray, count: int) -> np.ndarray:
    """The place of the largest error in each run of equal sign; of too many, the outer small ones
    are dropped.
    """
    cuts = np.flatnonzero(np.diff(np.sign(error))) + 1
    starts = [0, *cuts]
    ends = [*cuts, error.size]
    runs = zip(starts, ends, strict=True)
    peaks = [start + int(np.abs(error[start:end]).argmax()) for start, end in runs]
    if len(peaks) < count:
        raise ArithmeticError(f"the error changes its sign only {len(peaks) - 1} times")
    while len(peaks) > count:
        peaks.pop(0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else -1)
    return np.array(peaks)


if __name__ == "__main__":
    for name, degree, relative in (("_ERF_P", 9, True), ("_GELU_P", 6, False)):
        coefficients, worst = remez(degree, relative)
        print(f"{name} = ({', '.join(f'{c:.12g}' for c in coefficients)})  # error {worst:.3g}")
