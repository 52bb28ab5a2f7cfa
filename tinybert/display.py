"""What users see: values and texts of others in a safe form, bounded in length and without control
characters; and warnings, which point to the line of the user's call.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

_LONG_INTEGER = 10_000  # bits; Python refuses to write integers of over 4,300 digits
# A terminal obeys control characters (C0, DEL, C1) and reorders text at controls of direction.
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ESCAPED = {code: f"\\u{code:04x}" for code in _CONTROLS}
_IN_LINES = {code: text for code, text in _ESCAPED.items() if chr(code) not in "\t\n"}


def visible(text: str, lines: bool = False) -> str:
    """Return the text with control characters as \\uXXXX, so that a terminal does not obey them.

    The escapes are those of JSON: a JSON text keeps its meaning. `lines` leaves tabs and line ends
    as they are.
    """
    return text.translate(_IN_LINES if lines else _ESCAPED)


def short_repr(value: Any, length: int = 80) -> str:
    """Return the first `length` characters of `repr(value)`.

    The rest is not computed: the cost does not depend on the size or the depth of the value, which
    may be a list that holds itself.
    """
    shown = ""
    for piece in _pieces(value, length):
        shown += piece
        if len(shown) >= length:
            break
    return shown[:length]


def _pieces(value: Any, length: int) -> Iterator[str]:
    """Yield the parts of `repr(value)`; every level of nesting yields before it is entered."""
    kind: Any = type(value)
    if kind in (str, bytes):
        yield repr(value[:length])
    elif kind is int and value.bit_length() > _LONG_INTEGER:
        yield f"an integer of about {value.bit_length() * math.log10(2):.0f} digits"
    elif kind is dict:
        yield from _listed("{", value, "}", length)
    elif kind in (list, tuple, set) and value:
        opening = {list: "[", tuple: "(", set: "{"}[kind]
        closing = {list: "]", tuple: ",)" if len(value) == 1 else ")", set: "}"}[kind]
        yield from _listed(opening, value, closing, length)
    else:
        yield repr(value)


def _listed(opening: str, members: Any, closing: str, length: int) -> Iterator[str]:
    yield opening
    for i, member in enumerate(members):
        yield ", " if i else ""
        yield from _pieces(member, length)
        if isinstance(members, Mapping):
            yield ": "
            yield from _pieces(members[member], length)
    yield closing


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Give a Python warning that points to the first line of the call stack outside tinybert."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] == "tinybert":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
