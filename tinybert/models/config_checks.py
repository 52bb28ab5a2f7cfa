"""Checks of a config's options, which the families share.

Each raises a ValueError that names the option, what it may be and what it is. A config is checked
when a model is made of it, not before: until then any option may still be changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any


def check_whole(config: Any, names: Iterable[str], least: int) -> None:
    """Sizes and counts: whole numbers from `least`."""
    for name in names:
        value = getattr(config, name)
        check(name, value, is_whole(value) and value >= least, f"a whole number from {least}")


def check_number(
    config: Any, names: Iterable[str], most: float = math.inf, may_be_none: bool = False
) -> None:
    """Numbers from 0 to `most`; infinity is none."""
    limit = "from 0" if most == math.inf else f"from 0 to {most:g}"
    wanted = f"a number {limit}" + " or None" * may_be_none
    for name in names:
        value = getattr(config, name)
        fits = is_number(value) and 0 <= value <= most and value < math.inf
        check(name, value, fits or (may_be_none and value is None), wanted)


def check_flags(config: Any, names: Iterable[str]) -> None:
    """True or False; in particular not the text "false", which would count as true."""
    for name in names:
        value = getattr(config, name)
        check(name, value, value in (True, False), "True or False")


def check_choice(config: Any, name: str, known: Iterable[Any]) -> None:
    """One of those that are known."""
    value, known = getattr(config, name), tuple(known)
    check(name, value, value in known, f"one of {known}")


def check_pad_token(config: Any) -> None:
    """`pad_token_id` is a row of the table of words, or None."""
    pad = config.pad_token_id
    fits = pad is None or (is_whole(pad) and 0 <= pad < config.vocab_size)
    check("pad_token_id", pad, fits, f"from 0 to {config.vocab_size - 1} or None")


def check(name: str, value: Any, right: bool, wanted: str) -> None:
    """Raise unless `right`, naming the option, what is `wanted` and the value."""
    if not right:
        raise ValueError(f"{name} must be {wanted}, got {value!r}")


def is_whole(value: Any) -> bool:
    """Whether it is an integer of Python or NumPy; True and False are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is an integer or a floating number of Python or NumPy."""
    return isinstance(value, Real) and not isinstance(value, bool)
