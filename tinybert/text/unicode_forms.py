"""The normal forms of Unicode, with the change that each character of the result makes.

The algorithms are those of Unicode Standard Annex 15. How a character decomposes never changes once
it is in the standard, so Python's table is right on every version; but only the characters that
the Rust library knows are touched, to give the same as it does.
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
    """The characters of the normal form of a text; see `AlignedText.transform` for the numbers."""
    changes = _decomposed(text, "NFKD" if "K" in form else "NFD")
    return changes if form.endswith("D") else _composed(changes)


def unstable(text: str, form: str) -> Iterator[tuple[int, int]]:
    """The stretches (start, end) of a text that a normal form may change, each by itself.

    A character is stable if it is its own normal form and does not join what stands before it, nor
    moves to there. It may be joined by what is behind it, so that a stretch begins with the last
    stable character before the unstable ones.
    """
    pattern = _unstable(form, 0xFFFF if max(text) <= "\uffff" else 0x10FFFF)
    for match in pattern.finditer(text):
        yield max(match.start() - 1, 0), match.end()


@cache
def _unstable(form: str, last: int) -> re.Pattern[str]:
    """Unstable characters up to `last` in a row; where that is U+FFFF, they are found faster."""
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
    """Every character decomposed, and marks sorted by class within each run of them."""
    combining = rust_unicode().combining
    done: list[Change] = []
    marks: list[tuple[int, Change]] = []
    for char in text:
        for place, part in enumerate(_parts(char, form)):
            if order := combining.get(part, 0):
                marks.append((order, (part, int(place > 0))))
                continue
            if marks:
                done += [change for _, change in sorted(marks, key=lambda mark: mark[0])]
                marks = []
            done.append((part, int(place > 0)))
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
    """The one character that two compose to, or None."""
    char = unicodedata.normalize("NFC", first + second)
    if len(char) == 1 and (_is_hangul(char) or char in rust_unicode().decomposable):
        return char
    return None


def _composed(changes: list[Change]) -> list[Change]:
    """Every mark, or letter, joined to the starter before it, if both compose and none blocks."""
    combining = rust_unicode().combining
    done: list[Change] = []
    starter: Change | None = None
    behind: list[Change] = []  # marks that did not compose with the starter
    highest = 0  # the class of the last of them
    for char, change in changes:
        order = combining.get(char, 0)
        if starter is None:
            if order:
                done.append((char, change))
            else:
                starter = char, change
            continue
        blocked = bool(behind) and highest >= order
        joined = None if blocked else _composition(starter[0], char)
        if joined is not None:
            starter = joined, starter[1] + change - 1
        elif order:
            behind.append((char, change))
            highest = order
        else:
            done += [starter, *behind]
            starter, behind = (char, change), []
    return done + ([starter] if starter else []) + behind
