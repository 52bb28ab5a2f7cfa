"""Comparisons and logic: boolean results, without a gradient."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor
from tinybert.backend import array_module, is_array
from tinybert.ops.arguments import operands, promote


class Compare(Function):
    """y = a relation b, where the relation is the name of a NumPy function, such as "less".

    The result is piecewise constant: no gradient flows.
    """

    def forward(self, a: Any, b: Any, *, relation: str) -> Any:
        xp = array_module(a if is_array(a) else b)
        return getattr(xp, relation)(*promote(a, b))

    def backward(self, dy: Any) -> Any:
        return None, None


def eq(input: Any, other: Any) -> Tensor:
    """Return input == other, element by element."""
    return Compare.apply(*operands(input, other), relation="equal")


def ne(input: Any, other: Any) -> Tensor:
    """Return input != other, element by element."""
    return Compare.apply(*operands(input, other), relation="not_equal")


def lt(input: Any, other: Any) -> Tensor:
    """Return input < other, element by element."""
    return Compare.apply(*operands(input, other), relation="less")


def le(input: Any, other: Any) -> Tensor:
    """Return input <= other, element by element."""
    return Compare.apply(*operands(input, other), relation="less_equal")


def gt(input: Any, other: Any) -> Tensor:
    """Return input > other, element by element."""
    return Compare.apply(*operands(input, other), relation="greater")


def ge(input: Any, other: Any) -> Tensor:
    """Return input >= other, element by element."""
    return Compare.apply(*operands(input, other), relation="greater_equal")


def bitwise_and(input: Any, other: Any) -> Tensor:
    """Return input & other: for booleans, whether both are true."""
    return Compare.apply(*operands(input, other), relation="bitwise_and")


def bitwise_or(input: Any, other: Any) -> Tensor:
    """Return input | other: for booleans, whether at least one is true."""
    return Compare.apply(*operands(input, other), relation="bitwise_or")


def logical_not(input: Any) -> Tensor:
    """Return whether each element is false (or 0)."""
    return Compare.apply(*operands(input, False), relation="equal")
