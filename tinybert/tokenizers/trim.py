"""Offsets without the spaces at the ends of their tokens."""

from __future__ import annotations

from functools import cache

from tinybert.tokenizers.aligned_text import Span
from tinybert.tokenizers.alignment import Encoding
from tinybert.tokenizers.byte_level import SPACE
from tinybert.tokenizers.rust_unicode import rust_unicode


def trimmed(text: Encoding, add_prefix_space: bool) -> list[Span]:
    """The offsets of a text's tokens, without what is Ġ or white space at their ends.

    With `add_prefix_space`, the Ġ at the beginning of a text was not in it, and stands for nothing
    that could be taken away. The rules are those of the Rust library.
    """
    spaces = _spaces()
    offsets = list(text.offsets)
    for i, token in enumerate(text.tokens):
        if token[:1] not in spaces and token[-1:] not in spaces:
            continue
        start, end = offsets[i]
        leading = len(token) - len(token.lstrip(spaces))
        trailing = len(token) - len(token.rstrip(spaces))
        if add_prefix_space and leading == 1 and (i == 0 or start == 0):
            leading = 0
        start = min(start + leading, end)
        if end >= trailing:
            end = max(end - trailing, start)
        offsets[i] = start, end
    return offsets


@cache
def _spaces() -> str:
    """What counts as a space."""
    runs = rust_unicode().whitespace.runs
    return SPACE + "".join(chr(code) for first, last in runs for code in range(first, last + 1))
