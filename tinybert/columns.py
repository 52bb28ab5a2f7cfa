"""Text in the columns of a terminal: its width, shortened, padded, wrapped.

A Chinese character takes two columns, an accent that is a character of its own none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from tinybert.display import visible


def columns_of(text: str) -> int:
    """Return the number of columns that a text takes."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if (escaped := visible(character)) != character:
        return len(escaped)
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def one_line(text: str) -> str:
    """Replace every run of whitespace by one space, and escape control characters."""
    return visible(" ".join(text.split()))


def clip(text: str, width: int) -> str:
    """Return the text, of at most `width` columns, cut with an ellipsis if it is longer."""
    if columns_of(text) <= width:
        return text
    kept, used = "", 1
    for character in text:
        used += _columns(character)
        if used > width:
            break
        kept += character
    return kept.rstrip() + "…" if width > 0 else ""


def shorten(text: str, width: int) -> str:
    """Return the text in one line of at most `width` columns, cut with an ellipsis if longer."""
    return clip(one_line(text), width)


def shorten_start(text: str, width: int) -> str:
    """Like `shorten`, but keep the end, which matters most in a dotted name."""
    return shorten(one_line(text)[::-1], width)[::-1]


def pad(text: str, width: int, right: bool = False) -> str:
    """Pad the text with spaces to `width` columns, aligned at the left, or at the `right`."""
    spaces = " " * max(0, width - columns_of(text))
    return spaces + text if right else text + spaces


def wrap(words: Sequence[str], width: int, separator: str = " ") -> list[str]:
    """Join words to lines of at most `width` columns; a word that is longer is shortened."""
    lines = [""]
    for word in words:
        longer = lines[-1] + separator + word if lines[-1] else word
        if columns_of(longer) <= width:
            lines[-1] = longer
        elif lines[-1]:
            lines.append(shorten(word, width))
        else:
            lines[-1] = shorten(word, width)
    return lines
