"""Checks of single arguments: each raises a ValueError naming the argument, what was given and what
is allowed.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def is_whole(value: Any) -> bool:
    """Whether `value` is an integer, Python's or NumPy's, and no truth value."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def whole(name: str, value: Any, low: int | None, optional: bool = False) -> None:
    """An integer from `low` on; None too if `optional`."""
    if value is None and optional:
        return
    if not is_whole(value) or (low is not None and value < low):
        allowed = "an integer" if low is None else f"an integer from {low} on"
        raise ValueError(f"{name} must be {allowed}{' or None' * optional}, got {value!r}")


def number(name: str, value: Any) -> None:
    """A finite real number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ValueError(f"{name} must be a number, got {value!r}")
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")


def positive_float(name: str, value: Any, hint: str = "") -> float:
    """A float above 0: an integer is refused, as transformers does."""
    if not isinstance(value, (float, np.floating)) or not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a float above 0, got {value!r}{hint}")
    return float(value)


def share(name: str, value: Any, ends: bool = True) -> float:
    """A number from 0 to 1, or without the `ends` one between them."""
    number(name, value)
    if not 0 <= value <= 1 or (not ends and value in (0, 1)):
        raise ValueError(
            f"{name} must be {'from 0 to' if ends else 'above 0 and below'} 1, got {value!r}"
        )
    return float(value)


def flag(name: str, value: Any) -> None:
    """True or False; None stands for False."""
    if not isinstance(value, (bool, np.bool_, type(None))):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def tokens(name: str, value: Any) -> list[int]:
    """One id, a list of ids, or None, as a list."""
    ids = [] if value is None else [value] if is_whole(value) else value
    if not isinstance(ids, (list, tuple, np.ndarray)) or not all(is_whole(i) for i in ids):
        raise ValueError(f"{name} must be an id, a list of ids or None, got {value!r}")
    return [int(i) for i in ids]


def token_lists(name: str, value: Any) -> list[list[int]]:
    """A list of lists of ids, none of them empty; None stands for no list."""
    lists = [] if value is None else value
    if not isinstance(lists, (list, tuple)) or (value is not None and not lists):
        raise ValueError(f"{name} must be a list of lists of ids or None, got {value!r}")
    for ids in lists:
        if not isinstance(ids, (list, tuple)) or not ids:
            raise ValueError(f"{name} must hold lists of ids, none empty, got {ids!r}")
        if not all(is_whole(i) and i >= 0 for i in ids):
            raise ValueError(f"{name} must hold ids from 0 on, got {ids!r}")
    return [[int(i) for i in ids] for ids in lists]
