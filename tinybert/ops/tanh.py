"""The hyperbolic tangent."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.activation import activation
from tinybert.ops.arguments import as_floating


class Tanh(Function):
    """y = tanh(x). dx = dy * (1 - y^2)."""

    half_on = ""

    def forward(self, x: Any) -> Any:
        self.y = array_module(x).tanh(as_floating(x))
        return self.y

    def backward(self, dy: Any) -> Any:
        return dy * (1 - self.y * self.y)


@activation("tanh")
def tanh(input: Any) -> Tensor:
    """Return the hyperbolic tangent of every element."""
    return Tanh.apply(as_tensor(input))
