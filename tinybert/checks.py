"""Checks of arguments and options. Each raises a ValueError that names the argument, what is
allowed and what was given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any

from tinybert.display import short_repr

MOST = sys.float_info.max
TENSOR_TYPES: dict[str, Callable[[Any], Any]] = {"np": lambda array: array}


def check_integer(name: str, value: Any, least: int, optional: bool = False) -> None:
    """Raise unless `value` is an integer of Python or NumPy from `least` up, or None if `optional`.

    True and False are not integers here: a flag given for a size is a mistake.
    """
    fits = is_integer(value) and value >= least
    check(name, value, fits, f"an integer >= {least}", optional)


def check_number(
    name: str, value: Any, most: float = MOST, least: float = 0, optional: bool = False
) -> None:
    """Raise unless `value` is a finite number from `least` to `most`, or None if `optional`."""
    fits = is_number(value) and least <= plain(value) <= most
    allowed = f"a number >= {least:g}" if most == MOST else f"a number from {least:g} to {most:g}"
    check(name, value, fits, allowed, optional)


def check_flag(name: str, value: Any) -> None:
    """Raise unless `value` is True or False; the text "false", for example, would count as true."""
    check(name, value, value in (True, False), "True or False")


def check_mask(name: str, values: Any) -> None:
    """Raise unless an array (NumPy or CuPy) holds only ones and zeros; True and False are those."""
    if values.dtype.kind != "b":
        wrong = (values != 0) & (values != 1)
        if bool(wrong.any()):
            raise ValueError(f"{name} must be of ones and zeros, got {values[wrong][0].item()}")


def check_choice(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raise unless `value` is one of `allowed`."""
    known = tuple(allowed)
    check(name, value, value in known, f"one of {', '.join(map(repr, known))}")


def register_tensor_type(name: str, convert: Callable[[Any], Any]) -> None:
    """Make `return_tensors=name` of a tokenizer give `convert(array)` for each int64 array.

    Tokenizers must not import the packages above them: `tinybert` registers "tb" here.
    """
    TENSOR_TYPES[name] = convert


def check_tensor_type(name: str | None) -> None:
    """Raise ValueError unless `name` is None or a registered type of tensor."""
    check_choice("return_tensors", name, (None, *TENSOR_TYPES))


def check(name: str, value: Any, fits: bool, allowed: str, optional: bool = False) -> None:
    """Raise unless `fits`, naming what is `allowed` and what was given; None fits if `optional`."""
    if not (fits or (optional and value is None)):
        or_none = " or None" if optional else ""
        raise ValueError(f"{name} must be {allowed}{or_none}, got {short_repr(value)}")


def plain(value: Any) -> Any:
    """Return a value with Python's own numbers and lists in place of NumPy's numbers and arrays, as
    JSON needs them; also those in dicts (keys too), lists and tuples.
    """
    if isinstance(value, dict):
        return {plain(key): plain(member) for key, member in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value.tolist() if hasattr(value, "tolist") else value


def is_integer(value: Any) -> bool:
    """Return whether it is an integer of Python or NumPy; True and False are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether it is an integer or float of Python or NumPy; True and False are not."""
    return isinstance(value, Real) and not isinstance(value, bool)
