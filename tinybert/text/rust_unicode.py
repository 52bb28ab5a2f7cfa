"""The Unicode tables of the Rust library `tokenizers`; they are the same on every Python version.

The tables are in `rust_unicode.txt`; tests/text/make_rust_unicode.py makes it with the library.
They differ from Python's `unicodedata` in new characters, and in one error of the library: its
Extension E of the Chinese characters begins at U+2B920 instead of U+2B820.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

SURROGATES = (0xD800, 0xDFFF)  # Rust texts have none; they are removed like control characters
HANGUL_FIRST, HANGUL_COUNT = 0xAC00, 11172
LEADING, VOWEL, TRAILING = 0x1100, 0x1161, 0x11A7
VOWELS, TRAILINGS = 21, 28


class CharSet:
    """A set of characters, stored as sorted runs of code points."""

    def __init__(self, runs: list[tuple[int, int]]) -> None:
        self.runs = runs
        self._firsts = [first for first, _ in runs]

    def __contains__(self, char: object) -> bool:
        code = ord(str(char))
        i = bisect_right(self._firsts, code) - 1
        return i >= 0 and code <= self.runs[i][1]

    def pattern(self) -> str:
        """Return the set as a regular expression, without the [] around it."""
        return "".join(
            f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in self.runs
        )


class RustUnicode(NamedTuple):
    """The tables of the library.

    removed: control characters, private use and similar ones; cleaning drops them.
    whitespace: separates words.
    chinese: each character is a word.
    mark: combining marks that stripping accents drops.
    punctuation: each character is a word, too.
    word: letters, digits and marks; an AddedToken with single_word does not match next to one.
    stripped: the result of stripping accents, for characters that it changes but does not drop.
    lower: the lower case of the characters that have one.
    combining: the canonical combining class (1 to 240) of the characters that have one;
        decomposition sorts each run of them by class.
    letter, number: \\p{L} and \\p{N} of the library's regular expressions.
    digit: the digits of the part "Digits".
    accent: all marks; the part "StripAccents" drops them.
    decomposable: the characters that NFD or NFKD changes, without Hangul.
    """

    removed: CharSet
    whitespace: CharSet
    chinese: CharSet
    mark: CharSet
    punctuation: CharSet
    word: CharSet
    letter: CharSet
    number: CharSet
    digit: CharSet
    accent: CharSet
    decomposable: CharSet
    stripped: Mapping[str, str]
    lower: Mapping[str, str]
    combining: Mapping[str, int]

    def without_accents(self, char: str) -> str:
        """Return the canonical decomposition of `char` without its marks."""
        if char in self.mark:
            return ""
        hangul = ord(char) - HANGUL_FIRST
        if 0 <= hangul < HANGUL_COUNT:
            return decompose_hangul(hangul)
        return self.stripped.get(char, char)


def decompose_hangul(index: int) -> str:
    """Return the letters of Hangul syllable `index` (The Unicode Standard, section 3.12)."""
    rest, trailing = divmod(index, TRAILINGS)
    leading, vowel = divmod(rest, VOWELS)
    letters = chr(LEADING + leading) + chr(VOWEL + vowel)
    return letters + chr(TRAILING + trailing) if trailing else letters


@cache
def rust_unicode() -> RustUnicode:
    """Return the tables; `rust_unicode.txt` is read once."""
    text = Path(__file__).with_name("rust_unicode.txt").read_text(encoding="utf-8")
    sections: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            runs = sections[line.strip("[]")] = list[str]()
        elif not line.startswith("#"):
            runs += line.split()
    combining = {
        chr(code): int(name.removeprefix("combining "))
        for name, runs in sections.items()
        if name.startswith("combining ")
        for first, last in map(_span, runs)
        for code in range(first, last + 1)
    }
    names = [
        *("removed", "whitespace", "chinese", "mark", "punctuation", "word"),
        *("letter", "number", "digit", "accent", "decomposable"),
    ]
    spans = {name: [_span(run) for run in sections[name]] for name in names}
    spans["removed"] = sorted([*spans["removed"], SURROGATES])
    sets = {name: CharSet(runs) for name, runs in spans.items()}
    return RustUnicode(
        **sets,
        stripped=_images(sections["stripped"]),
        lower=_images(sections["lower"]),
        combining=combining,
    )


def _span(run: str) -> tuple[int, int]:
    first, _, last = run.partition("-")
    return int(first, 16), int(last or first, 16)


def _images(runs: list[str]) -> dict[str, str]:
    images = {}
    for run in runs:
        span, _, image = run.partition(":")
        first, last = _span(span)
        codes = [int(code, 16) for code in image.split("+")]
        for step in range(last - first + 1):
            images[chr(first + step)] = "".join(chr(code + step) for code in codes)
    return images
