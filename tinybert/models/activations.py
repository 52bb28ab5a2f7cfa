"""Activations by the names that configs use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": F.gelu_new,
    "gelu_pytorch_tanh": F.gelu_new,
    "laplace": F.laplace,
    "linear": lambda x: x,
    "relu": F.relu,
    "relu2": F.relu2,
    "sigmoid": F.sigmoid,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": F.tanh,
}


def activation(name: Any) -> Callable[[Tensor], Tensor]:
    """The function of that name; a function is returned as it is."""
    if callable(name):
        return name
    if name not in ACTIVATIONS:
        raise ValueError(f"hidden_act must be one of {sorted(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]
