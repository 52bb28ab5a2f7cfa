"""Operations with operands that broadcast: the gradient of one is summed where it was repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinybert.trace.arithmetic.terms import Term, log, number, total
from tinybert.trace.arithmetic.work import Index, Numbers, Work, backward, copy, forward


def uses(shape: Index, index: Index, out: Index) -> tuple[Any, ...]:
    """Return where a result of shape `out` uses element `index` of an operand of a shape."""
    added = len(out) - len(shape)
    kept = zip(shape, out[added:], index, strict=True)
    every = slice(None)
    return (every,) * added + tuple(every if n == 1 and m != 1 else i for n, m, i in kept)


def gathered(work: Work, name: str, form: Callable[..., Any], *others: Numbers) -> Term:
    """Return the sum of form(dy, other, ...) over all uses of an element of operand `name`."""
    dy = work.dy()
    where = uses(work.x(name).shape, work.index, dy.shape)
    return total(form, dy[where], *(other.spread(dy.shape)[where] for other in others))


@forward("Add")
def add(work: Work) -> Term:
    """y = a + b."""
    return number(work.x("a").at(work.index)) + work.x("b").at(work.index)


@forward("Sub")
def sub(work: Work) -> Term:
    """y = a - b."""
    return number(work.x("a").at(work.index)) - work.x("b").at(work.index)


@forward("Mul")
def mul(work: Work) -> Term:
    """y = a * b."""
    return number(work.x("a").at(work.index)) * work.x("b").at(work.index)


@forward("Div")
def div(work: Work) -> Term:
    """y = a / b."""
    return number(work.x("a").at(work.index)) / work.x("b").at(work.index)


@forward("Pow")
def power(work: Work) -> Term:
    """y = a^b."""
    return number(work.x("a").at(work.index)) ** number(work.x("b").at(work.index))


@backward("Add", "da")
def add_da(work: Work) -> Term:
    """Return da = dy."""
    return _passed(work, "a")


@backward("Add", "db")
def add_db(work: Work) -> Term:
    """Return db = dy."""
    return _passed(work, "b")


@backward("Sub", "da")
def sub_da(work: Work) -> Term:
    """Return da = dy."""
    return _passed(work, "a")


@backward("Sub", "db")
def sub_db(work: Work) -> Term:
    """db = -dy."""
    return -_passed(work, "b")


@backward("Mul", "da")
def mul_da(work: Work) -> Term:
    """Return da = dy * b."""
    return gathered(work, "a", lambda dy, b: dy * b, work.x("b"))


@backward("Mul", "db")
def mul_db(work: Work) -> Term:
    """Return db = dy * a."""
    return gathered(work, "b", lambda dy, a: dy * a, work.x("a"))


@backward("Div", "da")
def div_da(work: Work) -> Term:
    """Return da = dy / b."""
    return gathered(work, "a", lambda dy, b: dy / b, work.x("b"))


@backward("Div", "db")
def div_db(work: Work) -> Term:
    """db = -dy * y / b."""
    return -gathered(work, "b", lambda dy, y, b: dy * y / b, work.y(), work.x("b"))


@backward("Pow", "da")
def power_da(work: Work) -> Term:
    """Return da = dy * b * a^(b - 1)."""
    return gathered(work, "a", lambda dy, a, b: dy * b * a ** (b - 1), work.x("a"), work.x("b"))


@backward("Pow", "db")
def power_db(work: Work) -> Term:
    """Return db = dy * y * log(a)."""
    return gathered(work, "b", lambda dy, y, a: dy * y * log(a), work.y(), work.x("a"))


def _passed(work: Work, name: str) -> Term:
    """Return the sum of dy over all uses of an element."""
    dy = work.dy()
    where = uses(work.x(name).shape, work.index, dy.shape)
    if all(not isinstance(i, slice) for i in where):
        return copy("dy", dy, where)
    return gathered(work, name, lambda dy: dy)


# --- a choice by a condition ----------------------------------------------------------------------


@forward("Where")
def where(work: Work) -> Term:
    """y = a where condition, b elsewhere."""
    holds = work.let("condition", int(work.x("condition").at(work.index)))
    return number(work.x("a" if holds.value else "b").at(work.index))


@backward("Where", "da")
def where_da(work: Work) -> Term:
    """Return da = dy where condition."""
    return gathered(work, "a", lambda dy, c: dy * c, work.x("condition"))


@backward("Where", "db")
def where_db(work: Work) -> Term:
    """Return db = dy where not condition."""
    return gathered(work, "b", lambda dy, c: dy * (1 - c), work.x("condition"))


@forward("MaskedFill")
def masked_fill(work: Work) -> Term:
    """y = value where mask, x elsewhere."""
    masked = work.let("mask", int(work.x("mask").at(work.index)))
    if masked.value:
        return number(float(work.option("value")))
    return copy("x", work.x(), work.index)


@backward("MaskedFill", "dx")
def masked_fill_dx(work: Work) -> Term:
    """Return dx = 0 where mask, dy elsewhere."""
    masked = work.let("mask", int(work.x("mask").at(work.index)))
    return number(0) if masked.value else copy("dy", work.dy(), work.index)


@forward("Compare")
def compare(work: Work) -> Term:
    """y = 1 if the relation holds, else 0."""
    for name in ("a", "b"):
        work.let(name, work.x(name).at(work.index))
    return number(int(work.y()[work.index]))
