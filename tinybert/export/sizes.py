"""`Size`: an integer that depends on the sizes of a model's inputs, such as batch times length.

A record has the integers of one run. Which of them depend on the batch or the length shows in runs
of other sizes: `fitted` finds the polynomial that gives the integer of every run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

Term = tuple[str, ...]  # the names of the sizes in a product, in order; () for the constant


class Size:
    """A polynomial in the sizes of the inputs, linear in each of them.

    Attributes:
        terms: a factor for each product of sizes: {("batch", "length"): 2, (): -1} is
            2 * batch * length - 1.
    """

    def __init__(self, terms: Mapping[Term, Fraction]) -> None:
        self.terms = {term: factor for term, factor in terms.items() if factor}

    @property
    def divisor(self) -> int:
        """The smallest number that makes all factors whole."""
        return math.lcm(*(factor.denominator for factor in self.terms.values()))

    def value(self, sizes: Mapping[str, int]) -> Fraction:
        """Return the number for the given sizes of the inputs."""
        total = Fraction(0)
        for term, factor in self.terms.items():
            for name in term:
                factor = factor * sizes[name]
            total += factor
        return total

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def __str__(self) -> str:
        parts = []
        for term, factor in self.terms.items():
            number = [str(factor)] if factor != 1 or not term else []
            parts.append(" * ".join([*number, *term]))
        return " + ".join(parts)

    __repr__ = __str__


def runs(low: Mapping[str, int], step: Mapping[str, int]) -> list[dict[str, int]]:
    """Return the sizes of the runs that determine a `Size`, and of one more that tests it.

    Args:
        low: the smallest value of each size. step: the distance to the next value that is allowed.
    """
    names = list(low)
    corners = itertools.product((0, 1), repeat=len(names))
    found = [{n: low[n] + up * step[n] for n, up in zip(names, c, strict=True)} for c in corners]
    return [*found, {name: low[name] + 3 * step[name] for name in names}]


def fitted(values: Sequence[int], sizes: Sequence[Mapping[str, int]]) -> int | Size | None:
    """Return the integer of all runs: a number, a `Size`, or None if no polynomial gives it.

    Args:
        values: of each run. sizes: of the inputs of each run, from `runs`.
    """
    if len(set(values)) == 1:
        return values[0]
    names = list(sizes[0])
    found = Size(_interpolated([Fraction(v) for v in values[:-1]], names, sizes))
    return found if found.value(sizes[-1]) == values[-1] else None


def _interpolated(
    values: list[Fraction], names: list[str], sizes: Sequence[Mapping[str, int]]
) -> dict[Term, Fraction]:
    """Return f with f(low) and f(high) in the first name, each a polynomial in the others:
    f(low) + (x - low) / (high - low) * (f(high) - f(low)).
    """
    if not names:
        return {(): values[0]}
    name, half = names[0], len(values) // 2
    low, high = sizes[0][name], sizes[-2][name]
    below = _interpolated(values[:half], names[1:], sizes)
    above = _interpolated(values[half:], names[1:], sizes)
    result = dict(below)
    for term in below.keys() | above.keys():
        slope = (above.get(term, Fraction(0)) - below.get(term, Fraction(0))) / (high - low)
        result[term] = result.get(term, Fraction(0)) - low * slope
        result[(name, *term)] = slope
    return result
