"""The exponential function, the logarithm and square roots."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.arguments import as_floating, conjugate


class Exp(Function):
    """y = exp(x). dx = dy * y."""

    def forward(self, x: Any) -> Any:
        self.y = array_module(x).exp(as_floating(x))
        return self.y

    def backward(self, dy: Any) -> Any:
        return dy * conjugate(self.y)


def exp(input: Any) -> Tensor:
    """Return e to the power of every element."""
    return Exp.apply(as_tensor(input))


class Log(Function):
    """y = log(x), the natural logarithm. dx = dy / x."""

    def forward(self, x: Any) -> Any:
        self.x = as_floating(x)
        with np.errstate(divide="ignore", invalid="ignore"):
            return array_module(x).log(self.x)

    def backward(self, dy: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return dy / conjugate(self.x)


def log(input: Any) -> Tensor:
    """Return the natural logarithm of every element."""
    return Log.apply(as_tensor(input))


class Sqrt(Function):
    """y = sqrt(x). dx = dy / (2 y); infinite at 0."""

    half_on = ""

    def forward(self, x: Any) -> Any:
        with np.errstate(invalid="ignore"):
            self.y = array_module(x).sqrt(as_floating(x))
        return self.y

    def backward(self, dy: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return dy / (2 * self.y)


def sqrt(input: Any) -> Tensor:
    """Return the square root of every element."""
    return Sqrt.apply(as_tensor(input))


class Rsqrt(Function):
    """y = 1 / sqrt(x). dx = -dy * y^3 / 2."""

    half_on = ""

    def forward(self, x: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            self.y = 1 / array_module(x).sqrt(as_floating(x))
        return self.y

    def backward(self, dy: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return dy * (self.y * self.y * self.y) * -0.5


def rsqrt(input: Any) -> Tensor:
    """Return one over the square root of every element."""
    return Rsqrt.apply(as_tensor(input))
