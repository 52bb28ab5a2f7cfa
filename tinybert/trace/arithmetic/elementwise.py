"""Functions of single elements: y = f(x), dx = dy * f'(x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinybert.ops.gelu_new import GeluNew
from tinybert.trace.arithmetic.terms import (
    PI,
    Term,
    absolute,
    erf,
    exp,
    log,
    number,
    positive,
    sqrt,
    tanh,
)  # fmt: skip
from tinybert.trace.arithmetic.work import Unknown, Work, backward, copy, forward

# For each operation y = f(x), and dx from dy, x and y.
SIMPLE: dict[str, tuple[Callable[[Any], Term], Callable[[Any, Any, Any], Term]]] = {
    "Exp": (exp, lambda dy, x, y: dy * y),
    "Log": (log, lambda dy, x, y: dy / x),
    "Sqrt": (sqrt, lambda dy, x, y: dy / (2 * y)),
    "Rsqrt": (lambda x: 1 / sqrt(x), lambda dy, x, y: dy * y**3 * number(-0.5)),
    "Neg": (lambda x: -x, lambda dy, x, y: -dy),
    "Abs": (absolute, lambda dy, x, y: dy * int(x.value > 0) - dy * int(x.value < 0)),
    "Tanh": (tanh, lambda dy, x, y: dy * (1 - y**2)),
    "Sigmoid": (lambda x: 1 / (1 + exp(-x)), lambda dy, x, y: dy * y * (1 - y)),
    "Erf": (erf, lambda dy, x, y: dy * 2 / sqrt(PI) * exp(-(x**2))),
    "Relu": (positive, lambda dy, x, y: dy * int(x.value > 0)),
    "Relu2": (lambda x: positive(x) ** 2, lambda dy, x, y: dy * 2 * positive(x)),
}


def _register(name: str) -> None:
    """Register the workers of an operation of `SIMPLE`."""
    function, slope = SIMPLE[name]

    @forward(name)
    def result(work: Work) -> Term:
        return function(_x(work))

    @backward(name, "dx")
    def gradient(work: Work) -> Term:
        return slope(_dy(work), _x(work), number(work.y()[work.index]))


def _x(work: Work) -> Term:
    return number(work.x()[work.index])


def _dy(work: Work) -> Term:
    return number(work.dy()[work.index])


for name in SIMPLE:
    _register(name)


@forward("Cast", "Clone", "ToDevice")
def same(work: Work) -> Term:
    """y = x."""
    return copy("x", work.x(), work.index)


@backward("Cast", "dx")
@backward("Clone", "dx")
@backward("ToDevice", "dx")
def same_dx(work: Work) -> Term:
    """Return dx = dy."""
    return copy("dy", work.dy(), work.index)


@forward("Clip")
def clip(work: Work) -> Term:
    """y = low where x is below, high where it is above, x elsewhere."""
    end = _crossed(work)
    return copy("x", work.x(), work.index) if end is None else number(float(work.option(end)))


@backward("Clip", "dx")
def clip_dx(work: Work) -> Term:
    """Return dx = dy where low <= x <= high, 0 elsewhere."""
    is_nan = np.isnan(work.x()[work.index])
    if _crossed(work) is not None or is_nan:
        return number(0)
    return copy("dy", work.dy(), work.index)


def _crossed(work: Work) -> str | None:
    """Write the line of x, and return the end of the range that it is beyond: low, high or None."""
    x = work.let("x", work.x()[work.index]).value
    low, high = work.option("low"), work.option("high")
    if low is not None and x < low:
        return "low"
    return "high" if high is not None and x > high else None


@forward("Dropout")
def dropout(work: Work) -> Term:
    """y = x * keep / (1 - p)."""
    return _dropped(work, _x(work))


@backward("Dropout", "dx")
def dropout_dx(work: Work) -> Term:
    """Return dx = dy * keep / (1 - p)."""
    return _dropped(work, _dy(work))


def _dropped(work: Work, term: Term) -> Term:
    if not work.forward.saved:
        raise Unknown("keep is not in the record: it is saved for a gradient, and x needs none")
    keep, p = work.let("keep", int(work.saved("keep")[work.index])), float(work.option("p"))
    return term * int(keep.value) / (1 - number(p)) if p < 1 else term * 0


@forward("Gelu")
def gelu(work: Work) -> Term:
    """y = x * Phi(x)."""
    return _x(work) * phi_of(work, _x(work))


@backward("Gelu", "dx")
def gelu_dx(work: Work) -> Term:
    """Return dx = dy * (Phi(x) + x * phi(x))."""
    x = _x(work)
    distribution = phi_of(work, x)
    density = work.let("phi", exp(-number(0.5) * x**2) / sqrt(2 * PI))
    return _dy(work) * (distribution + x * density)


def phi_of(work: Work, x: Term) -> Term:
    """Write the line of Phi(x), the normal distribution function, and return it."""
    return work.let("Phi", (1 + erf(x / sqrt(number(2)))) / 2)


@forward("GeluNew")
def gelu_new(work: Work) -> Term:
    """y = x / 2 * (1 + t)."""
    return _x(work) / 2 * (1 + _t(work, _x(work)))


@backward("GeluNew", "dx")
def gelu_new_dx(work: Work) -> Term:
    """Return dx = dy * ((1 + t) / 2 + x / 2 * (1 - t^2) * u')."""
    x = _x(work)
    t = _t(work, x)
    slope = work.let("u'", sqrt(2 / PI) * (1 + 3 * _CUBE * x**2))
    return _dy(work) * ((1 + t) / 2 + x / 2 * (1 - t**2) * slope)


_CUBE = Term(GeluNew.CUBE, str(GeluNew.CUBE))


def _t(work: Work, x: Term) -> Term:
    u = work.let("u", sqrt(2 / PI) * (x + _CUBE * x**3))
    return work.let("t", tanh(u))


@forward("Silu")
def silu(work: Work) -> Term:
    """y = x * s."""
    return _x(work) * _s(work)


@backward("Silu", "dx")
def silu_dx(work: Work) -> Term:
    """Return dx = dy * s * (1 + x * (1 - s))."""
    s = _s(work)
    return _dy(work) * s * (1 + _x(work) * (1 - s))


def _s(work: Work) -> Term:
    return work.let("s", 1 / (1 + exp(-_x(work))))


@forward("Laplace")
def laplace(work: Work) -> Term:
    """y = (1 + erf(z / sqrt 2)) / 2."""
    return (1 + erf(_z(work) / sqrt(number(2)))) / 2


@backward("Laplace", "dx")
def laplace_dx(work: Work) -> Term:
    """Return dx = dy * exp(-z^2 / 2) / (sigma sqrt(2 pi))."""
    bell = exp(-number(0.5) * _z(work) ** 2)
    return _dy(work) * bell / (number(work.option("sigma")) * sqrt(2 * PI))


def _z(work: Work) -> Term:
    return work.let("z", (_x(work) - work.option("mu")) / work.option("sigma"))
