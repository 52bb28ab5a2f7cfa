"""The logistic function, and the activation SiLU made from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, array_module, kernel
from tinybert.ops.activation import activation
from tinybert.ops.arguments import as_floating


class Sigmoid(Function):
    """y = 1 / (1 + exp(-x)). dx = dy * y * (1 - y)."""

    half_on = ""

    def forward(self, x: Any) -> Any:
        self.y = sigmoid_forward(as_floating(x))
        return self.y

    def backward(self, dy: Any) -> Any:
        return dy * (self.y * (1 - self.y))


@activation("sigmoid")
def sigmoid(input: Any) -> Tensor:
    """Return 1 / (1 + exp(-x))."""
    return Sigmoid.apply(as_tensor(input))


class Silu(Function):
    """y = x * s with s = sigmoid(x) (Elfwing et al. 2017, arXiv:1702.03118). dx = dy * s * (1 + x *
    (1 - s)).
    """

    half_on = ""

    def forward(self, x: Any) -> Any:
        self.x = as_floating(x)
        self.s = sigmoid_forward(self.x)
        return self.x * self.s

    def backward(self, dy: Any) -> Any:
        return dy * (self.s * (1 + self.x * (1 - self.s)))


@activation("silu", "swish")
def silu(input: Any) -> Tensor:
    """Return x * sigmoid(x)."""
    return Silu.apply(as_tensor(input))


@kernel
def sigmoid_forward(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)) of an array; where exp overflows it is 0, the right limit."""
    with np.errstate(over="ignore", under="ignore"):
        return 1 / (1 + array_module(x).exp(-x))
