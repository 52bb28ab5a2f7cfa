"""Rectified linear units: ReLU and its square."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, array_module, kernel
from tinybert.ops.activation import activation


class Relu(Function):
    """y = max(x, 0). dx = dy where x > 0, else 0."""

    def forward(self, x: Any) -> Any:
        self.positive = x > 0
        return array_module(x).maximum(x, 0)

    def backward(self, dy: Any) -> Any:
        return dy * self.positive


@activation("relu")
def relu(input: Any) -> Tensor:
    """Return max(x, 0)."""
    return Relu.apply(as_tensor(input))


class Relu2(Function):
    """y = max(x, 0)^2 (So et al. 2021, arXiv:2109.08668; Nemotron, MEGA). dx = dy * 2 max(x, 0)."""

    def forward(self, x: Any) -> Any:
        y, self.positive = relu2_forward(x)
        return y

    def backward(self, dy: Any) -> Any:
        return dy * (2 * self.positive)


@activation("relu2")
def relu2(input: Any) -> Tensor:
    """Return max(x, 0)^2."""
    return Relu2.apply(as_tensor(input))


@kernel
def relu2_forward(x: Array) -> tuple[Array, Array]:
    """Return max(x, 0)^2 and max(x, 0)."""
    positive = array_module(x).maximum(x, 0)
    return positive * positive, positive
