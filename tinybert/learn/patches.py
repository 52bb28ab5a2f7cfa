"""Replace parts of the engine for a while: an attribute of a class or module by another value.

The bugs of the museum and a learner's own layers are put into the engine from outside, so that the
engine itself has no line for them.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

from tinybert.models import call


@dataclass(frozen=True)
class Patch:
    """A replacement for one attribute.

    Attributes:
        target: a dotted name, as "tinybert.ops.softmax.Softmax.backward". Replace a function where
            its name is looked up, which is the module that calls it, not the one that defines it.
        replacement: the value, usually a function. A `staticmethod` stays one.
    """

    target: str
    replacement: Any


@contextmanager
def patched(*patches: Patch) -> Iterator[None]:
    """Replace attributes inside a `with` block, in all threads; put the originals back after it.

    Blocks may be nested or overlap, in one thread or several: the last one entered that is still
    open decides, and when all are left, the original is back.

    Models compute padding inside the block: a replacement may concern the mask.

    Raises:
        ValueError: a target does not exist.
    """
    with ExitStack() as stack:
        stack.enter_context(_replaced(call, "pack_call", lambda model, call, mask: call))
        for patch in patches:
            stack.enter_context(_replaced(*_find(patch.target), patch.replacement))
        yield


def attribute(target: str) -> Any:
    """Return what a patch of `target` replaces, as it is now.

    Raises:
        ValueError: the target does not exist.
    """
    return getattr(*_find(target))


# For each replaced attribute: its original and the replacements in the order of their blocks. The
# owner's dictionary is what is read and written: `getattr` would bind a staticmethod.
_open: dict[tuple[int, str], tuple[Any, list[list[Any]]]] = {}
_lock = threading.Lock()


@contextmanager
def _replaced(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    key, mine = (id(owner), name), [replacement]
    with _lock:
        _, replacements = _open.setdefault(key, (vars(owner).get(name, _open), []))
        replacements.append(mine)
        setattr(owner, name, replacement)
    try:
        yield
    finally:
        with _lock:
            original, replacements = _open[key]
            replacements[:] = [other for other in replacements if other is not mine]
            if replacements:
                setattr(owner, name, replacements[-1][0])
            else:
                del _open[key]
                # An inherited attribute was not the owner's own: it must not become so.
                if original is _open:
                    delattr(owner, name)
                else:
                    setattr(owner, name, original)


def _find(target: str) -> tuple[Any, str]:
    """The module or class that has the attribute, and its name."""
    names = target.split(".")
    for end in range(len(names) - 1, 0, -1):
        try:
            owner = importlib.import_module(".".join(names[:end]))
        except ModuleNotFoundError:
            continue
        try:
            owner = reduce(getattr, names[end:-1], owner)
            getattr(owner, names[-1])
        except AttributeError:
            break
        return owner, names[-1]
    raise ValueError(f"there is nothing to replace at {target!r}")
