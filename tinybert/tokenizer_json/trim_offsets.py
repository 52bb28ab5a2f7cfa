"""Offsets without the spaces at the ends of their tokens."""

from __future__ import annotations

from functools import cache, lru_cache

from tinybert.text.aligned_text import Span
from tinybert.text.byte_level import SPACE
from tinybert.text.rust_unicode import rust_unicode
from tinybert.tokenizer_json.encoding import Encoding


def trimmed(text: Encoding, add_prefix_space: bool) -> list[Span]:
    """The offsets of a text's tokens, without what is Ġ or white space at their ends.

    With `add_prefix_space`, the Ġ at the beginning of a text was not in it, and stands for nothing
    that could be taken away. The rules are those of the Rust library.
    """
    spans = list(text.offsets)
    for i, token in enumerate(text.tokens):
        if _spaces_of(token) != (0, 0):
            spans[i] = trim_span(token, spans[i], add_prefix_space and (i == 0 or spans[i][0] == 0))
    return spans


def trim_span(token: str, span: Span, begins_text: bool = False) -> Span:
    """The span of one token; if it `begins_text`, one Ġ may have been put there."""
    (leading, trailing), (start, end) = _spaces_of(token), span
    if not (begins_text and leading == 1):
        start = min(start + leading, end)
    return start, max(end - trailing, start) if end >= trailing else end


@lru_cache(maxsize=20_000)
def _spaces_of(token: str) -> tuple[int, int]:
    """How many characters at the beginning and at the end of a token are spaces."""
    spaces = _spaces()
    return len(token) - len(token.lstrip(spaces)), len(token) - len(token.rstrip(spaces))


@cache
def _spaces() -> str:
    """What counts as a space."""
    runs = rust_unicode().whitespace.runs
    return SPACE + "".join(chr(code) for first, last in runs for code in range(first, last + 1))
