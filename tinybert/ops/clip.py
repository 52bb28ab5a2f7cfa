"""Clipping every element to a range."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module


class Clip(Function):
    """y = min(max(x, low), high). dx = dy where low <= x <= high, 0 elsewhere."""

    def forward(self, x: Any, *, low: float | None, high: float | None) -> Any:
        if low is None and high is None:
            raise ValueError("clip needs min or max")
        inside = array_module(x).ones(x.shape, bool)
        if low is not None:
            inside &= x >= low
        if high is not None:
            inside &= x <= high
        self.inside = inside
        return array_module(x).clip(x, low, high)

    def backward(self, dy: Any) -> Any:
        return dy * self.inside


def clip(input: Any, min: float | None = None, max: float | None = None) -> Tensor:
    """Return every element, raised to `min` or lowered to `max` where it is beyond."""
    return Clip.apply(as_tensor(input), low=min, high=max)
