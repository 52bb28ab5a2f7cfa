"""Offsets of byte-level tokens without the spaces at the ends of the tokens."""

from __future__ import annotations

from tinybert.text.aligned_text import Span
from tinybert.text.byte_level import SPACE
from tinybert.text.rust_unicode import rust_unicode
from tinybert.text.word_cache import WordCache
from tinybert.tokenizer_json.encoding import Encoding


def trimmed(text: Encoding, add_prefix_space: bool) -> list[Span]:
    """Return the offsets of a text's tokens without Ġ and whitespace at their ends.

    With `add_prefix_space`, the Ġ at the beginning of a text is not in the original text, and is
    not trimmed. The rules are those of the Rust library.
    """
    spans = list(text.offsets)
    for i, (leading, trailing) in enumerate(map(_SPACES.__getitem__, text.tokens)):
        if leading or trailing:
            start, end = spans[i]
            if not (add_prefix_space and leading == 1 and (i == 0 or start == 0)):
                start = min(start + leading, end)
            spans[i] = start, max(end - trailing, start) if end >= trailing else end
    return spans


class _Spaces(WordCache[tuple[int, int]]):
    """How many characters at the beginning and at the end of a token are spaces."""

    def work_out(self, word: str) -> tuple[int, int]:
        runs = rust_unicode().whitespace.runs
        spaces = SPACE + "".join(chr(c) for first, last in runs for c in range(first, last + 1))
        return len(word) - len(word.lstrip(spaces)), len(word) - len(word.rstrip(spaces))


_SPACES = _Spaces()
