"""Long runs of combining marks, in an order for which Unicode's normal forms take little time."""

from __future__ import annotations

import re
import unicodedata

_MAY_BE_LONG = re.compile("[\u0300-\U0010ffff]{32}")  # there are no marks below U+0300
_LONG_RUN = re.compile(rb"[^\0]{32,}")


def sorted_marks(text: str) -> str:
    """Return a text with the same normal forms, in which long runs of marks are sorted.

    Python sorts the marks of a run by insertion: a run of n marks takes n^2 steps unless it is
    sorted already.
    """
    if not _MAY_BE_LONG.search(text):
        return text
    parts: list[str] = []
    done = 0
    classes = bytes(map(unicodedata.combining, text))  # 0 for what is not a mark, 240 at most
    for match in _LONG_RUN.finditer(classes):
        start, end = match.span()
        marks = "".join([unicodedata.normalize("NFD", char) for char in text[start:end]])
        parts += (text[done:start], "".join(sorted(marks, key=unicodedata.combining)))
        done = end
    return "".join([*parts, text[done:]])
