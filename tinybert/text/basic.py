"""Basic tokenization: from raw text to the words that WordPiece splits.

It has five steps: clean the text, put spaces around Chinese characters, compose accents (NFC),
lower-case and strip accents, split off punctuation. All rules use Python's `unicodedata`: the
result for very new characters depends on the version of Python.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection
from typing import Literal

MAX_CACHED_CHARACTERS = 100_000

# The blocks of Chinese characters. The original BERT does not list kana, Hangul, 々, 〇 and the
# blocks after U+2FA1F: they are letters of words.
CJK_BLOCKS = (
    (0x4E00, 0x9FFF),  # CJK Unified Ideographs
    (0x3400, 0x4DBF),  # Extension A
    (0x20000, 0x2A6DF),  # Extension B
    (0x2A700, 0x2B73F),  # Extension C
    (0x2B740, 0x2B81F),  # Extension D
    (0x2B820, 0x2CEAF),  # Extension E
    (0xF900, 0xFAFF),  # Compatibility Ideographs
    (0x2F800, 0x2FA1F),  # Compatibility Ideographs Supplement
)


# The rules, one character at a time ---------------------------------------------------------


def is_whitespace(char: str) -> bool:
    """Return whether it is tab, newline, carriage return or a space separator (category Zs)."""
    return char in " \t\n\r" or unicodedata.category(char) == "Zs"


def is_control(char: str) -> bool:
    """Return whether its category is C* (control, format, ...); \\t, \\n and \\r do not count."""
    return char not in "\t\n\r" and unicodedata.category(char)[0] == "C"


def is_punctuation(char: str) -> bool:
    """Return whether its category is P*, or it is another ASCII sign ($ + < ^ ` | ~)."""
    if char.isascii():
        return char.isprintable() and not char.isalnum() and char != " "
    return unicodedata.category(char)[0] == "P"


def is_cjk(char: str) -> bool:
    """Return whether it is in one of the `CJK_BLOCKS`."""
    return any(first <= ord(char) <= last for first, last in CJK_BLOCKS)


# The rules, applied to a whole string ---------------------------------------------------------


class CharTable(dict[int, str | None]):
    """A table for `str.translate` that calls `rule(char)` once for each new character.

    `str.translate` runs in C: a text costs one Python call for each *distinct* character.
    The rule returns the replacement, or None to drop the character.
    """

    def __init__(self, rule: Callable[[str], str | None]) -> None:
        super().__init__()
        self.rule = rule

    def __missing__(self, code: int) -> str | None:
        replacement = self.rule(chr(code))
        if len(self) < MAX_CACHED_CHARACTERS:
            self[code] = replacement
        return replacement


def _clean_char(char: str) -> str | None:
    if char in "\x00\ufffd" or is_control(char):
        return None
    return " " if is_whitespace(char) else char


_CLEAN = CharTable(_clean_char)
_SPACED_CJK = CharTable(lambda char: f" {char} " if is_cjk(char) else char)
_WITHOUT_MARKS = CharTable(lambda char: None if unicodedata.category(char) == "Mn" else char)
_ASCII_PUNCTUATION = re.compile("[!-/:-@[-`{-~]")
_SPACED_PUNCTUATION = CharTable(lambda char: f" {char} " if is_punctuation(char) else char)


def clean_text(text: str) -> str:
    """Drop NUL, U+FFFD and control characters; replace each whitespace character by a space.

    Zero-width spaces, soft hyphens, vertical tabs and private-use characters count as control
    characters: the text on both sides of one is joined.
    """
    return text.translate(_CLEAN)


def space_cjk(text: str) -> str:
    """Put a space on each side of every Chinese character: each becomes a word."""
    return text if text.isascii() else text.translate(_SPACED_CJK)


def strip_accents(text: str) -> str:
    """Decompose (NFD) and drop the non-spacing marks (category Mn): "é" becomes "e"."""
    return text if text.isascii() else normal_form("NFD", text).translate(_WITHOUT_MARKS)


def normal_form(form: Literal["NFC", "NFD"], text: str) -> str:
    """Return a normal form of Unicode; runs of thousands of marks do not make it slow."""
    if len(text) > 1000 and not text.isascii():
        from tinybert.text.combining_marks import sorted_marks

        text = sorted_marks(text)
    return unicodedata.normalize(form, text)


def space_punctuation(text: str) -> str:
    """Put a space on each side of every punctuation character: each becomes a word."""
    if text.isascii():
        return _ASCII_PUNCTUATION.sub(lambda sign: f" {sign[0]} ", text)
    return text.translate(_SPACED_PUNCTUATION)


class BasicTokenizer:
    """Turns text into words, as the original BERT does before WordPiece.

    Arguments:
        do_lower_case: lower-case each word.
        never_split: words (between spaces, case-sensitive) that are not changed.
        tokenize_chinese_chars: make each Chinese character a word.
        strip_accents: remove accents; None means "if do_lower_case".
    """

    def __init__(
        self,
        do_lower_case: bool = True,
        never_split: Collection[str] = (),
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
    ) -> None:
        self.do_lower_case = do_lower_case
        self.never_split = frozenset(never_split)
        self.tokenize_chinese_chars = tokenize_chinese_chars
        self.strip_accents = do_lower_case if strip_accents is None else strip_accents

    def tokenize(self, text: str, never_split: Collection[str] = ()) -> list[str]:
        """Return the words of `text`; keep those in `never_split` or `self.never_split`."""
        never_split = self.never_split.union(never_split)
        text = _apply_outside(never_split, self.simplify, self.space(clean_text(text)))
        return _apply_outside(never_split, space_punctuation, text).split()

    def space(self, text: str) -> str:
        """Put spaces around Chinese characters (if asked to) and compose accents (NFC)."""
        text = space_cjk(text) if self.tokenize_chinese_chars else text
        return normal_form("NFC", text)

    def simplify(self, text: str) -> str:
        """Lower-case and strip accents (each if asked to)."""
        if self.do_lower_case:
            text = text.lower()
        return strip_accents(text) if self.strip_accents else text


def _apply_outside(kept: frozenset[str], step: Callable[[str], str], text: str) -> str:
    """Apply `step` to every word of `text` that is not in `kept`.

    No step depends on more than one word: a text that has none to keep is changed as a whole.
    """
    if len(kept) > 20:
        kept = kept.intersection(text.split())
    if not any(map(text.__contains__, kept)):  # for a few, faster than to split the text
        return step(text)
    return " ".join(word if word in kept else step(word) for word in text.split())
