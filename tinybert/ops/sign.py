"""Negation and the absolute value."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module


class Neg(Function):
    """y = -x. dx = -dy."""

    def forward(self, x: Any) -> Any:
        return -x

    def backward(self, dy: Any) -> Any:
        return -dy


def neg(input: Any) -> Tensor:
    """Return -input."""
    return Neg.apply(as_tensor(input))


class Abs(Function):
    """y = |x|. dx = dy * sign(x); 0 at 0, one of the subgradients."""

    def forward(self, x: Any) -> Any:
        self.x = x
        return array_module(x).abs(x)

    def backward(self, dy: Any) -> Any:
        return dy * array_module(dy).sign(self.x)


def abs(input: Any) -> Tensor:
    """Return the absolute value of every element."""
    return Abs.apply(as_tensor(input))
