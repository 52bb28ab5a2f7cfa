"""Activations by the names that configs use.

Operations register theirs in their own files (`tinybert.ops`); the ones here are made of several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.ops.activation import ACTIVATIONS
from tinybert.ops.activation import activation as register


def activation(name: Any, option: str = "hidden_act") -> Callable[[Tensor], Tensor]:
    """Return the function of that name; a function is returned unchanged.

    Raises ValueError, calling the option `option`, for other names.
    """
    if callable(name):
        return name
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"{option} must be one of {sorted(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]


@register("linear")
def identity(x: Tensor) -> Tensor:
    """Return x."""
    return x


@register("gelu_10")
def clipped_gelu(x: Tensor) -> Tensor:
    """Return gelu(x), at most 10."""
    return F.gelu(x).clip(-10, 10)


@register("leaky_relu")
def leaky_relu(x: Tensor) -> Tensor:
    """Return x where it is positive, 0.01 x elsewhere."""
    return F.where(x > 0, x, 0.01 * x)


@register("relu6")
def relu6(x: Tensor) -> Tensor:
    """Return max(x, 0), at most 6."""
    return x.relu().clip(0, 6)


@register("quick_gelu")
def quick_gelu(x: Tensor) -> Tensor:
    """Return x * sigmoid(1.702 x): a rough GELU."""
    return x * (1.702 * x).sigmoid()


@register("mish")
def mish(x: Tensor) -> Tensor:
    """Return x * tanh(log(1 + exp(x))) (Misra 2019, arXiv:1908.08681), without overflow."""
    return x * (x.relu() + ((-x.abs()).exp() + 1).log()).tanh()
