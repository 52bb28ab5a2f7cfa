"""Added tokens: tokens that are matched in a text as a whole, before it is split into words."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

FEW = 20  # tokens that may be tried one by one at each position


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

    Raises ValueError if too many tokens each begin with the one before it; see `token_tree.py`.
    """
    if len(tokens) > FEW:
        from tinybert.text.token_tree import alternatives

        return re.compile(f"({alternatives(tokens)})")
    return re.compile(f"({'|'.join(map(re.escape, tokens))})" if tokens else "((?!))")
