"""The table of activation functions by the names that configs use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tinybert.autograd import Tensor

F = TypeVar("F", bound=Callable[..., Tensor])

ACTIVATIONS: dict[str, Callable[..., Tensor]] = {}


def activation(*names: str) -> Callable[[F], F]:
    """Return a decorator that makes a function the activation that configs call `names`."""

    def register(function: F) -> F:
        ACTIVATIONS.update(dict.fromkeys(names, function))
        return function

    return register
