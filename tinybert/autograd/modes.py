"""The global modes of the engine: whether gradients are recorded, and the default dtype and device.

Each is read through a function and set through an object that is also a context manager; the third
mode, the random generator, is `backend.manual_seed`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from inspect import isasyncgenfunction, isclass, iscoroutinefunction, isgeneratorfunction
from typing import Any

import numpy as np

from tinybert.autograd.resumed import resumed
from tinybert.backend import parse_device


class _Thread(threading.local):
    """The modes of one thread: a model that generates in one thread does not affect another.

    The functions below read them; where every nanosecond counts they are read directly.
    """

    grad_enabled = True
    observer: Any = None


_RARE = isclass, isgeneratorfunction, iscoroutinefunction, isasyncgenfunction
current = _Thread()
observed: list[Any] = []  # the observers of all threads: empty, it tells at once that there is none
_default_dtype = np.dtype(np.float32)
_default_device = "cpu"


def is_grad_enabled() -> bool:
    """Return whether operations are recorded for `backward`."""
    return current.grad_enabled


def get_default_dtype() -> np.dtype:
    """Return the dtype of new parameters and of lists of Python floats; float32 unless changed."""
    return _default_dtype


def get_default_device() -> str:
    """Return the device of new tensors for which none is given; "cpu" unless changed."""
    return _default_device


def observer() -> Any:
    """Return what is told of every operation, or None; see `tinybert.trace`."""
    return current.observer if observed else None


class observing:
    """`with observing(observer): ...`: tell it of every operation of this thread."""

    def __init__(self, observer: Any) -> None:
        self.observer = observer

    def __enter__(self) -> None:
        observed.append(self.observer)
        self._before, current.observer = current.observer, self.observer

    def __exit__(self, *exc_info: object) -> None:
        current.observer = self._before
        observed.remove(self.observer)


class _GradMode:
    """`with no_grad(): ...` or `@no_grad()`; the former mode is restored at the end."""

    enabled: bool
    _before: tuple[bool, ...] = ()

    def __enter__(self) -> None:
        self._before = (*self._before, current.grad_enabled)
        current.grad_enabled = self.enabled

    def __exit__(self, *exc_info: object) -> None:
        *rest, current.grad_enabled = self._before
        self._before = tuple(rest)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if any(kind(function) for kind in _RARE):
            return resumed(type(self), function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapped


class no_grad(_GradMode):
    """Do not record operations: inference and parameter updates need less time and memory."""

    enabled = False


class enable_grad(_GradMode):
    """Record operations again inside a `no_grad()` block."""

    enabled = True


class set_default_dtype:
    """Set the default dtype: float16, float32 or float64.

    As a context manager it restores the former one at the end.
    """

    def __init__(self, dtype: Any) -> None:
        global _default_dtype
        new = np.dtype(dtype)
        if new not in (np.float16, np.float32, np.float64):
            raise ValueError(f"dtype must be float16, float32 or float64, got {new}")
        self._before, _default_dtype = _default_dtype, new

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc_info: object) -> None:
        global _default_dtype
        _default_dtype = self._before


class set_default_device:
    """Set the default device: "cpu" or "cuda".

    As a context manager it restores the former one at the end.
    """

    def __init__(self, device: str) -> None:
        global _default_device
        parse_device(device)
        self._before, _default_device = _default_device, device

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc_info: object) -> None:
        global _default_device
        _default_device = self._before
