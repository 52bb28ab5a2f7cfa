"""Added tokens: tokens that are matched in a text as a whole, before it is split into words."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

MAX_NESTED = 100  # the pattern of Python's `re` has a level of parentheses for each


@dataclass(frozen=True)
class AddedToken:
    """A token that is matched in the text and never split.

    single_word: match only between spaces or the ends of the text.
    lstrip, rstrip: the whitespace on its left, or right, belongs to the token.
    normalized: match it in normalized text; by default true for tokens that are not special.
    special: it has a meaning for the model, and `decode` can skip it.

    Raises TypeError if `content` is not a str, ValueError if it is empty.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = None  # type: ignore[assignment]  # always a bool after __post_init__
    special: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.content, str):
            raise TypeError(f"the content of an AddedToken must be a str, got {self.content!r}")
        if not self.content:
            raise ValueError("the content of an AddedToken must not be empty")
        if self.normalized is None:
            object.__setattr__(self, "normalized", not self.special)

    def __str__(self) -> str:
        return self.content

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as the files of transformers hold them."""
        return asdict(self)


def pattern_of(tokens: list[str]) -> re.Pattern[str]:
    """Return a pattern whose `split` gives the tokens at the odd indices.

    If several tokens match at the same position, the first in the list wins. The pattern of an
    empty list never matches.

    Raises ValueError if more than `MAX_NESTED` tokens each begin with the one before it.
    """
    return re.compile(f"({_alternatives(tokens)})" if tokens else "((?!))")


def _alternatives(texts: list[str], depth: int = 0) -> str:
    """Return the pattern of texts as a tree: those that begin alike share their beginning.

    A position is compared with few of them, even if there are thousands.
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
        rest = _alternatives([text[len(start) :] for text in group], depth + 1)
        parts.append(re.escape(start) + rest)
    if not parts:
        return ""
    return f"(?:{'|'.join(parts)})" + ("?" if "" in texts else "")


def _common_start(texts: list[str]) -> str:
    """Return the longest text with which all of them begin."""
    first, last = min(texts), max(texts)  # those between them begin alike, too
    size = next((i for i, char in enumerate(first) if char != last[i]), len(first))
    return first[:size]
