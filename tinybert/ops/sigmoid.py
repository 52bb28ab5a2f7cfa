"""The logistic function."""

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


@kernel
def sigmoid_forward(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)) of an array; where exp overflows it is 0, the right limit."""
    with np.errstate(over="ignore", under="ignore"):
        return 1 / (1 + array_module(x).exp(-x))
