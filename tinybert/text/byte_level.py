"""Bytes as characters: the alphabet of byte-level BPE, and how it cuts a text before merging.

A text is UTF-8, so that 256 symbols are enough for any text and nothing is ever unknown (Radford
et al. 2019, section 2.2). How symbols become tokens is in `bpe.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from tinybert.text.rust_unicode import CharSet, rust_unicode

# Bytes that are printable characters of Latin-1 stand for themselves; the other 68, in rising
# order, are the characters from U+0100 on. So a space is Ġ (U+0120), a line end Ċ (U+010A).
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_MOVED = {
    byte: chr(0x100 + place) for place, byte in enumerate(sorted(set(range(256)) - set(_PRINTABLE)))
}
BYTE_TO_CHAR = tuple(_MOVED.get(byte, chr(byte)) for byte in range(256))
CHAR_TO_BYTE = {char: byte for byte, char in enumerate(BYTE_TO_CHAR)}
SPACE = BYTE_TO_CHAR[0x20]

_LAST_OF_PLANE_0 = 0xFFFF
_LAST = 0x10FFFF


def to_alphabet(text: str) -> str:
    """The bytes of a text, each as its character: one for an ASCII character, up to four else."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1").translate(_MOVED)


def to_bytes(tokens: Iterable[str]) -> bytes:
    """The bytes of tokens, joined; a token with a character that no byte has stands as it is."""
    joined = bytearray()
    for token in tokens:
        try:
            joined += bytes(map(CHAR_TO_BYTE.__getitem__, token))
        except KeyError:
            joined += token.encode("utf-8", "surrogatepass")
    return bytes(joined)


def split_pattern(text: str) -> re.Pattern[str]:
    """The pattern whose matches are the words that `text` is cut into; none crosses a word.

    GPT-2's: English endings after an apostrophe; letters, or digits, or other signs, each with one
    space before them; white space, whose last character is left to the word behind it:

        's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

    Python's `re` knows no \\p{L}, so the classes are written out, from tables that are the same on
    every version of Python. The whole of Unicode makes a slow pattern, and is used only for a
    text that needs it.
    """
    if text.isascii():
        return _pattern(0x7F)
    return _pattern(_LAST_OF_PLANE_0 if max(text) <= chr(_LAST_OF_PLANE_0) else _LAST)


@cache
def _pattern(last: int) -> re.Pattern[str]:
    """`split_pattern` for texts without characters above `last`."""
    unicode = rust_unicode()
    letter, number, space = (
        CharSet([(a, min(b, last)) for a, b in found.runs if a <= last]).pattern()
        for found in (unicode.letter, unicode.number, unicode.whitespace)
    )
    return re.compile(
        f"'(?:[stmd]|re|ve|ll)| ?[{letter}]+| ?[{number}]+| ?[^{space}{letter}{number}]+"
        f"|[{space}]+(?![^{space}])|[{space}]+"
    )
