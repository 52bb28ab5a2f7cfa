"""The normal forms of Unicode, with the alignment of the result to the text.

The algorithms are those of Unicode Standard Annex 15. The decomposition of a character never
changes once it is in the standard: Python's table is right on every version. Only the characters
that the Rust library knows are changed, to give the same result.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Literal

from tinybert.text.rust_unicode import (
    HANGUL_COUNT,
    HANGUL_FIRST,
    TRAILING,
    TRAILINGS,
    VOWEL,
    VOWELS,
    CharSet,
    rust_unicode,
)

FORMS = ("NFC", "NFD", "NFKC", "NFKD")

Form = Literal["NFD", "NFKD"]
Change = tuple[str, int]  # see AlignedText.transform


def normal_form(text: str, form: str) -> list[Change]:
    """Return the normal form of a text as changes; see `AlignedText.transform`."""
    changes = _decomposed(text, "NFKD" if "K" in form else "NFD")
    return changes if form.endswith("D") else _composed(changes)


def unstable(text: str, form: str) -> Iterator[tuple[int, int]]:
    """Yield the segments (start, end) of a text that a normal form may change, each by itself.

    A character is stable if it is its own normal form, and neither composes with the character
    before it nor moves before it. The next character may compose with it: a segment therefore
    begins with the last stable character before the unstable ones.
    """
    pattern = _unstable(form, 0xFFFF if max(text) <= "\uffff" else 0x10FFFF)
    for match in pattern.finditer(text):
        yield max(match.start() - 1, 0), match.end()


@cache
def _unstable(form: str, last: int) -> re.Pattern[str]:
    """Return the pattern of consecutive unstable characters up to `last`; fewer are faster."""
    unicode = rust_unicode()
    decomposable = [chr(i) for a, b in unicode.decomposable.runs for i in range(a, b + 1)]
    found = set(unicode.combining)
    hangul = [] if form.endswith("C") else [(HANGUL_FIRST, HANGUL_FIRST + HANGUL_COUNT - 1)]
    if form.endswith("C"):
        pairs = [unicodedata.decomposition(char).split() for char in decomposable]
        pairs = [codes for codes in pairs if len(codes) == 2 and not codes[0].startswith("<")]
        found |= {chr(int(second, 16)) for _, second in pairs}
        found |= {chr(VOWEL + i) for i in range(VOWELS)}
        found |= {chr(TRAILING + i) for i in range(1, TRAILINGS)}
        whole: Form = "NFKD" if "K" in form else "NFD"
        found |= {char for char in decomposable if _parts(char, whole)[0] in found}
    found |= {char for char in decomposable if normal_form(char, form) != [(char, 0)]}
    codes = [ord(char) for char in found if ord(char) <= last]
    return re.compile(f"[{CharSet([*hangul, *zip(codes, codes, strict=True)]).pattern()}]+")


def _decomposed(text: str, form: Form) -> list[Change]:
    """Decompose every character, and sort each run of marks by combining class."""
    combining = rust_unicode().combining
    done: list[Change] = []
    marks: list[tuple[int, Change]] = []
    for char in text:
        for i, part in enumerate(_parts(char, form)):
            if order := combining.get(part, 0):
                marks.append((order, (part, int(i > 0))))
                continue
            if marks:
                done += [change for _, change in sorted(marks, key=lambda mark: mark[0])]
                marks = []
            done.append((part, int(i > 0)))
    return done + [change for _, change in sorted(marks, key=lambda mark: mark[0])]


@lru_cache(maxsize=10_000)
def _parts(char: str, form: Form) -> str:
    if _is_hangul(char) or char in rust_unicode().decomposable:
        return unicodedata.normalize(form, char)
    return char


def _is_hangul(char: str) -> bool:
    return 0 <= ord(char) - HANGUL_FIRST < HANGUL_COUNT


@lru_cache(maxsize=10_000)
def _composition(first: str, second: str) -> str | None:
    """Return the character that two characters compose to, or None."""
    char = unicodedata.normalize("NFC", first + second)
    if len(char) == 1 and (_is_hangul(char) or char in rust_unicode().decomposable):
        return char
    return None


def _composed(changes: list[Change]) -> list[Change]:
    """Compose every mark or letter with the starter before it, if nothing between blocks it."""
    combining = rust_unicode().combining
    done: list[Change] = []
    starter: Change | None = None
    marks: list[Change] = []  # marks that did not compose with the starter
    highest = 0  # the class of the last of them
    for char, change in changes:
        order = combining.get(char, 0)
        if starter is None:
            if order:
                done.append((char, change))
            else:
                starter = char, change
            continue
        blocked = bool(marks) and highest >= order
        joined = None if blocked else _composition(starter[0], char)
        if joined is not None:
            starter = joined, starter[1] + change - 1
        elif order:
            marks.append((char, change))
            highest = order
        else:
            done += [starter, *marks]
            starter, marks = (char, change), []
    return done + ([starter] if starter else []) + marks
