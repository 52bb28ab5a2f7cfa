"""Byte-level BPE: bytes as characters, and the pattern that splits a text into words.

A text is UTF-8: 256 symbols are enough for any text, and nothing is unknown (Radford et al. 2019,
section 2.2). `bpe.py` merges the symbols.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Container, Iterable
from functools import cache

from tinybert.text.rust_unicode import CharSet, rust_unicode

# Bytes that are printable in Latin-1 are the same characters; the other 68 are, in order, the
# characters from U+0100 up. A space becomes Ġ (U+0120), a line end Ċ (U+010A).
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_MOVED = {byte: chr(0x100 + i) for i, byte in enumerate(sorted(set(range(256)) - set(_PRINTABLE)))}
BYTE_TO_CHAR = tuple(_MOVED.get(byte, chr(byte)) for byte in range(256))
CHAR_TO_BYTE = {char: byte for byte, char in enumerate(BYTE_TO_CHAR)}
SPACE = BYTE_TO_CHAR[0x20]

_LAST_OF_PLANE_0 = 0xFFFF
_LAST = 0x10FFFF


def to_alphabet(text: str) -> str:
    """Return the bytes of a text as characters: one for an ASCII character, else up to four."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1").translate(_MOVED)


def to_bytes(tokens: Iterable[str]) -> bytes:
    """Return the joined bytes of tokens; a token with another character is encoded as UTF-8."""
    joined = bytearray()
    for token in tokens:
        try:
            joined += bytes(map(CHAR_TO_BYTE.__getitem__, token))
        except KeyError:
            joined += token.encode("utf-8", "surrogatepass")
    return bytes(joined)


def is_incomplete(data: bytes) -> bool:
    """Return whether UTF-8 ends within a character: more bytes could complete it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data)
    return bool(decoder.getstate()[0])


def kept_whole(tokens: Iterable[str], kept: Container[str]) -> list[str]:
    """Return tokens of which those in `kept` are written in the alphabet: `to_bytes` then gives
    their own text. An added token such as "Müller" is text, although ü is in the alphabet too.
    """
    return [to_alphabet(token) if token in kept else token for token in tokens]


def split_pattern(text: str) -> re.Pattern[str]:
    """Return the pattern of GPT-2, whose matches are the words of `text`.

    A word is an English ending after an apostrophe; letters, digits or other signs, with at most
    one space before them; or whitespace, whose last character belongs to the next word:

        's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

    Python's `re` does not know \\p{L}: the classes are listed, from tables that are the same on
    every version of Python. A pattern for all of Unicode is slow, and is used only for texts that
    need it.
    """
    if text.isascii():
        return _pattern(0x7F)
    return _pattern(_LAST_OF_PLANE_0 if max(text) <= chr(_LAST_OF_PLANE_0) else _LAST)


@cache
def _pattern(last: int) -> re.Pattern[str]:
    """Return `split_pattern` for texts without characters above `last`."""
    unicode = rust_unicode()
    letter, number, space = (
        CharSet([(a, min(b, last)) for a, b in found.runs if a <= last]).pattern()
        for found in (unicode.letter, unicode.number, unicode.whitespace)
    )
    return re.compile(
        f"'(?:[stmd]|re|ve|ll)| ?[{letter}]+| ?[{number}]+| ?[^{space}{letter}{number}]+"
        f"|[{space}]+(?![^{space}])|[{space}]+"
    )
