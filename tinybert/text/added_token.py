"""Added tokens: tokens that are matched in the text as a whole, before it is split into words."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class AddedToken:
    """A token that is matched in the text as it stands.

    single_word: only where a space or the edge of the text is on both sides.
    lstrip, rstrip: the whitespace to its left, or right, belongs to the token.
    normalized: an uncased tokenizer lower-cases it; by default all that are not special.
    special: it has a meaning for the model, and can be skipped when decoding.
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
        """The fields, as the files of transformers hold them."""
        return asdict(self)


def any_of(tokens: list[str]) -> re.Pattern[str]:
    """A pattern whose `split` leaves the tokens at the odd places; it never matches for none.

    Of tokens that match at one place the first in the list wins. Grouped by their first
    characters, thousands of them cost little where none begins.
    """
    rests: dict[str, list[str]] = {}
    for token in tokens:
        rests.setdefault(token[0], []).append(re.escape(token[1:]))
    groups = [f"{re.escape(first)}(?:{'|'.join(rest)})" for first, rest in rests.items()]
    return re.compile(f"({'|'.join(groups)})" if groups else "((?!))")
