"""Offsets of byte-level tokens without the spaces at the ends of the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from tinybert.text.aligned_text import Span
from tinybert.text.byte_level import SPACE
from tinybert.text.rust_unicode import rust_unicode
from tinybert.text.word_cache import WordCache


def trimmed(
    tokens: Sequence[str], offsets: Sequence[Span], add_prefix_space: bool = False
) -> list[Span]:
    """Return the offsets of the tokens of a text without Ġ and whitespace at their ends.

    With `add_prefix_space`, the Ġ at the beginning of a text is not in the original text, and is
    not trimmed. The rules are those of the Rust library.
    """
    spans = list(offsets)
    for i, (leading, trailing) in enumerate(map(_SPACES.__getitem__, tokens)):
        if leading or trailing:
            start, end = spans[i]
            if leading and not (add_prefix_space and leading == 1 and (i == 0 or start == 0)):
                start = min(start + leading, end)
            if trailing and end >= trailing:
                end = max(end - trailing, start)
            spans[i] = start, end
    return spans


class _Spaces(WordCache[tuple[int, int]]):
    """How many characters at the beginning and at the end of a token are spaces."""

    def compute(self, word: str) -> tuple[int, int]:
        spaces = _all_spaces()
        return len(word) - len(word.lstrip(spaces)), len(word) - len(word.rstrip(spaces))


_SPACES = _Spaces()


@cache
def _all_spaces() -> str:
    runs = rust_unicode().whitespace.runs
    return SPACE + "".join(chr(code) for first, last in runs for code in range(first, last + 1))
