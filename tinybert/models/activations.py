"""Activations by the names that configs use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x): a rough GELU."""
    return x * (1.702 * x).sigmoid()


def mish(x: Tensor) -> Tensor:
    """x * tanh(log(1 + exp(x))) (Misra 2019, arXiv:1908.08681), without overflow."""
    return x * (x.relu() + ((-x.abs()).exp() + 1).log()).tanh()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_10": lambda x: F.gelu(x).clip(-10, 10),
    "gelu_accurate": F.gelu_new,
    "gelu_fast": F.gelu_new,
    "gelu_new": F.gelu_new,
    "gelu_python": F.gelu,
    "gelu_pytorch_tanh": F.gelu_new,
    "laplace": F.laplace,
    "leaky_relu": lambda x: F.where(x > 0, x, 0.01 * x),
    "linear": lambda x: x,
    "mish": mish,
    "quick_gelu": quick_gelu,
    "relu": F.relu,
    "relu2": F.relu2,
    "relu6": lambda x: x.relu().clip(0, 6),
    "sigmoid": F.sigmoid,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": F.tanh,
}


def activation(name: Any, option: str = "hidden_act") -> Callable[[Tensor], Tensor]:
    """The function of that name; a function is returned as it is. ValueError, calling the option
    `option`, for other names.
    """
    if callable(name):
        return name
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"{option} must be one of {sorted(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]
