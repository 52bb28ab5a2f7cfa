"""Kernels: a plain formula, and faster versions of it for particular devices.

    @kernel
    def softmax_backward(y, dy):                # the formula, for any array module
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))

    @softmax_backward.on("cpu")
    def softmax_backward_on_cpu(y, dy): ...     # the same numbers, in fewer passes over memory

A call runs the version for the device that holds its first argument, or the formula if there is
none. Those for a GPU are in `backend/cuda`, by the name of the formula. In plain mode
(`tinybert.plain()`) it always runs the formula. A test compares every version with its formula.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, ParamSpec, TypeVar

from tinybert.backend.device import backend_of

P = ParamSpec("P")
R = TypeVar("R")

_plain = os.environ.get("TINYBERT_PLAIN", "") not in ("", "0")


def is_plain() -> bool:
    """Return whether every operation runs its plain formula now."""
    return _plain


@contextmanager
def plain() -> Iterator[None]:
    """Run the plain formula of every operation: `with tinybert.plain(): ...`.

    A debugger that steps into a layer then ends at its formula. Results differ from those of the
    fast versions by rounding alone. The mode is global: it holds in all threads. Setting the
    environment variable `TINYBERT_PLAIN=1` switches it on from the start.
    """
    global _plain
    before, _plain = _plain, True
    try:
        yield
    finally:
        _plain = before


class Kernel(Generic[P, R]):
    """A formula that may have faster versions; made by the decorator `kernel`.

    Attributes:
        formula: the function that was decorated.
        versions: for the name of a device ("cpu") the function that replaces it there.
    """

    def __init__(self, formula: Callable[P, R]) -> None:
        functools.update_wrapper(self, formula)
        self.formula, self.name = formula, formula.__name__
        self.versions: dict[str, Callable[P, R]] = {}

    def on(self, *devices: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Return a decorator that registers a function as the version for `devices`."""

        def register(version: Callable[P, R]) -> Callable[P, R]:
            self.versions.update(dict.fromkeys(devices, version))
            return version

        return register

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if _plain:
            return self.formula(*args, **kwargs)
        first: Any = args[0]  # an array, or a list of arrays
        backend = backend_of(first[0] if type(first) is list else first)
        version = self.versions.get(backend.name) or backend.kernels.get(self.name)
        return (version or self.formula)(*args, **kwargs)


kernel = Kernel  # as a decorator it reads as a function
