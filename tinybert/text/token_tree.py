"""The regular expression of many texts, as a tree: those that begin alike share their beginning."""

from __future__ import annotations

import re

MAX_NESTED = 100  # the pattern of Python's `re` has a level of parentheses for each


def alternatives(texts: list[str], depth: int = 0) -> str:
    """Return the pattern of texts, of which the first in the list wins.

    A position is compared with few of them, even if there are thousands. Raises ValueError if more
    than `MAX_NESTED` texts each begin with the one before it.
    """
    if depth > MAX_NESTED:
        raise ValueError(f"more than {MAX_NESTED} added tokens each begin with the one before it")
    groups: dict[str, list[str]] = {}
    for text in texts:
        if not text:  # it matches anywhere: those after it never win
            break
        groups.setdefault(text[0], []).append(text)
    parts = []
    for group in groups.values():
        start = _common_start(group)
        rest = alternatives([text[len(start) :] for text in group], depth + 1)
        parts.append(re.escape(start) + rest)
    if not parts:
        return ""
    return f"(?:{'|'.join(parts)})" + ("?" if "" in texts else "")


def _common_start(texts: list[str]) -> str:
    """Return the longest text with which all of them begin."""
    first, last = min(texts), max(texts)  # those between them begin alike, too
    size = next((i for i, char in enumerate(first) if char != last[i]), len(first))
    return first[:size]
