"""Forward hooks: functions that are called before or after the `forward` of a module."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

_numbers = itertools.count()  # never used twice: an old handle cannot remove a new hook


class HookHandle:
    """Returned by the `register_..._hook` methods; `remove()` removes the hook."""

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self._hooks, self._number = hooks, next(_numbers)
        hooks[self._number] = hook

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        self._hooks.pop(self._number, None)


class Hooks:
    """Base of Module: methods that register hooks. `Module.__call__` runs them in order."""

    _forward_hooks: dict[int, Any]
    _forward_pre_hooks: dict[int, Any]

    def register_forward_hook(self, hook: Callable[[Any, tuple, Any], Any]) -> HookHandle:
        """Call `hook(module, args, output)` after every forward; a result replaces the output."""
        return HookHandle(self._forward_hooks, hook)

    def register_forward_pre_hook(self, hook: Callable[[Any, tuple], Any]) -> HookHandle:
        """Call `hook(module, args)` before every forward; a result replaces the arguments."""
        return HookHandle(self._forward_pre_hooks, hook)
