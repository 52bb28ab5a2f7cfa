"""`Term`: a number that knows the arithmetic it came from.

    >>> y, dy, sum_ = number(0.12), number(0.031), number(-0.004)
    >>> (y * (dy - sum_)).text
    '0.12 * (0.031 - (-0.004))'

So a formula is written once, as Python, and gives both the number and its text. Numbers are
computed in float64 and shown with 4 digits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

DIGITS = 4
SHOWN = 3  # terms of a long sum
SUM, PRODUCT, POWER, ATOM = range(4)  # what binds more tightly is larger
_NEGATIVE = re.compile(r"-(?:[\d.]+(?:e[+-]\d+)?|inf)(?![^ ])")  # a number at the beginning


@dataclass(frozen=True, eq=False)
class Term:
    """A number with its arithmetic as text, and how tightly its last operation binds."""

    value: Any
    text: str
    level: int = ATOM

    def __add__(self, other: Any) -> Term:
        return _joined(self.value + value(other), self, " + ", other, SUM, SUM)

    def __sub__(self, other: Any) -> Term:
        return _joined(self.value - value(other), self, " - ", other, SUM, PRODUCT)

    def __mul__(self, other: Any) -> Term:
        return _joined(self.value * value(other), self, " * ", other, PRODUCT, PRODUCT)

    def __truediv__(self, other: Any) -> Term:
        return _joined(self.value / value(other), self, " / ", other, PRODUCT, POWER)

    def __pow__(self, other: Any) -> Term:
        base = Term(self.value, f"({self.text})") if self.text.startswith("-") else self
        return _joined(self.value ** value(other), base, "^", other, POWER, ATOM, ATOM)

    def __neg__(self) -> Term:
        return Term(-self.value, "-" + _side(self, POWER, right=True), PRODUCT)

    def __radd__(self, other: Any) -> Term:
        return number(other) + self

    def __rsub__(self, other: Any) -> Term:
        return number(other) - self

    def __rmul__(self, other: Any) -> Term:
        return number(other) * self

    def __rtruediv__(self, other: Any) -> Term:
        return number(other) / self


def number(x: Any) -> Term:
    """Return a number as a term: an int with all of its digits, a float with 4."""
    if isinstance(x, Term):
        return x
    return Term(np.float64(x), str(x) if isinstance(x, int) else show(x))


def show(x: Any) -> str:
    """Return a number with 4 significant digits."""
    text = f"{float(x):.{DIGITS}g}"
    return "0" if text == "-0" else text


PI = Term(math.pi, "pi")


def value(x: Any) -> Any:
    """Return the number of a term; any other number, and an array, in float64."""
    return x.value if isinstance(x, Term) else np.asarray(x, np.float64)[()]


def total(form: Callable[..., Any], *columns: Any) -> Term:
    """Return the sum of form(a, b, ...) over the elements a, b, ... of arrays of one length.

    A number counts for all elements. Of a long sum the largest terms are shown.
    """
    arrays = np.broadcast_arrays(*(np.atleast_1d(value(column)).reshape(-1) for column in columns))
    terms = np.asarray(form(*arrays))
    count = terms.size
    if not count:
        return number(0)
    sizes = np.where(np.isnan(terms), np.inf, np.abs(terms))
    is_long = count > SHOWN + 1
    chosen = np.argsort(-sizes, kind="stable")[:SHOWN] if is_long else range(count)
    first, *others = (form(*(number(array[i]) for array in arrays)) for i in chosen)
    text = " + ".join([first.text, *(_side(term, SUM, right=True) for term in others)])
    if count == 1:
        return Term(terms.sum(), text, first.level)
    return Term(terms.sum(), text + (f" + ... ({count - SHOWN} more)" if is_long else ""), SUM)


def _function(name: str, compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function of terms and of arrays."""

    def apply(x: Any) -> Any:
        if isinstance(x, Term):
            return Term(np.float64(compute(x.value)), f"{name}({x.text})")
        return compute(x)

    return apply


exp, log = _function("exp", np.exp), _function("log", np.log)
sqrt, tanh = _function("sqrt", np.sqrt), _function("tanh", np.tanh)
erf = _function("erf", math.erf)
absolute = _function("abs", np.abs)


def positive(x: Any) -> Any:
    """Return max(x, 0), of a term or of an array."""
    if isinstance(x, Term):
        return Term(0.0 if x.value < 0 else x.value, f"max({x.text}, 0)")
    return np.where(x < 0, 0.0, x)


def _joined(
    result: Any, left: Term, sign: str, right: Any, level: int, least: int, least_left: int = -1
) -> Term:
    """Return two terms joined by an operator, in parentheses where it binds more tightly."""
    first = _side(left, level if least_left < 0 else least_left, right=False)
    return Term(result, first + sign + _side(number(right), least, right=True), level)


def _side(term: Term, level: int, right: bool) -> str:
    """Return the text of an operand, in parentheses if needed; on the right also if negative."""
    if term.level < level:
        return f"({term.text})"
    if not right or not term.text.startswith("-"):
        return term.text
    first = _NEGATIVE.match(term.text)
    return f"({term.text})" if first is None else f"({first[0]}){term.text[first.end() :]}"
