"""Sine and cosine."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.arguments import as_floating


class Sin(Function):
    """y = sin(x). dx = dy cos(x).   Oracle   torch.sin"""

    def forward(self, x: Any) -> Any:
        self.x = as_floating(x)
        return array_module(x).sin(self.x)

    def backward(self, dy: Any) -> Any:
        return dy * array_module(dy).cos(self.x)


class Cos(Function):
    """y = cos(x). dx = -dy sin(x).   Oracle   torch.cos"""

    def forward(self, x: Any) -> Any:
        self.x = as_floating(x)
        return array_module(x).cos(self.x)

    def backward(self, dy: Any) -> Any:
        return -dy * array_module(dy).sin(self.x)


def sin(input: Any) -> Tensor:
    """Return the sine, element by element."""
    return Sin.apply(as_tensor(input))


def cos(input: Any) -> Tensor:
    """Return the cosine, element by element."""
    return Cos.apply(as_tensor(input))
