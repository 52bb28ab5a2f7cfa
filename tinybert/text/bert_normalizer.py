"""Normalised text that remembers where each of its characters comes from.

The steps are those of `basic.py`, in the order and by the tables of the Rust library: clean,
space Chinese characters, strip accents, lower the case. Pieces are not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tinybert.text.basic import MAX_CACHED_CHARACTERS
from tinybert.text.rust_unicode import rust_unicode


class BertNormalizer:
    """What a BERT tokenizer does to a text before it looks for words.

    Arguments:
        lowercase: lower the case, character by character.
        strip_accents: decompose (NFD) and drop non-spacing marks; None means "if lowercase".
        handle_chinese_chars: put a space on each side of a Chinese character.
        clean_text: drop control characters, and turn whitespace into spaces.

    `chunk_pattern` finds what stands between two spaces in a text; one chunk can be normalised
    without the next. `word_pattern` finds the words of normalised text.
    """

    def __init__(
        self,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        handle_chinese_chars: bool = True,
        clean_text: bool = True,
    ) -> None:
        self.lowercase = lowercase
        self.strip_accents = lowercase if strip_accents is None else strip_accents
        self.handle_chinese_chars = handle_chinese_chars
        self.clean_text = clean_text
        self._unicode = rust_unicode()
        self._images = _Images(self)
        space, signs = self._separators(), self._unicode.punctuation.pattern()
        self.chunk_pattern = re.compile(f"[^{space}]+")
        self.word_pattern = re.compile(f"[{signs}]|[^{space}{signs}]+")
        self._movable = re.compile(f"[{''.join(map(re.escape, self._movable_chars()))}]")

    def normalize(self, text: str) -> tuple[str, list[int]]:
        """The normalised text, and for each of its characters the index of its origin in `text`."""
        if self.strip_accents and self._movable.search(text):
            return self._normalize_in_order(text)
        images = [self._images[char] for char in text]
        normalised = "".join(images)
        if len(normalised) == len(text) and "" not in images:
            return normalised, list(range(len(text)))
        return normalised, [i for i, image in enumerate(images) for _ in image]

    def _separators(self) -> str:
        """The whitespace that stays whitespace, as the inside of the [] of a pattern."""
        unicode = self._unicode
        chars = [chr(c) for first, last in unicode.whitespace.runs for c in range(first, last + 1)]
        kept = [c for c in chars if not (self.clean_text and c in unicode.removed)]
        return "".join(map(re.escape, kept))

    # One character at a time ----------------------------------------------------------------

    def image(self, char: str) -> str:
        """What all steps together make of one character."""
        spaced = self._spaced(char)
        if self.strip_accents:
            spaced = "".join(map(self._unicode.without_accents, spaced))
        return "".join(map(self._lowered, spaced))

    def _spaced(self, char: str) -> str:
        if self.clean_text:
            if char in self._unicode.removed:
                return ""
            if char in self._unicode.whitespace:
                return " "
        return f" {char} " if self.handle_chinese_chars and char in self._unicode.chinese else char

    def _lowered(self, char: str) -> str:
        return self._unicode.lower.get(char, char) if self.lowercase else char

    # Marks that change places ---------------------------------------------------------------

    def _movable_chars(self) -> Iterator[str]:
        """Characters that decomposition may move, and that are not dropped afterwards."""
        combining = self._unicode.combining
        yield from (char for char in combining if char not in self._unicode.mark)
        for char, image in self._unicode.stripped.items():
            if any(c in combining for c in image):
                yield char

    def _normalize_in_order(self, text: str) -> tuple[str, list[int]]:
        """`normalize` where combining characters may have to be sorted.

        The library numbers the characters after sorting them: the place that a character moves
        to, not the one that it comes from, is its origin.
        """
        spaced = [(char, i) for i, whole in enumerate(text) for char in self._spaced(whole)]
        parts: list[tuple[int, str, bool]] = []  # class, what is left of it, opens a character?
        for char, _ in spaced:
            combining = self._unicode.combining
            if left := self._unicode.without_accents(char):
                parts += [(combining.get(c, 0), c, k == 0) for k, c in enumerate(left)]
            else:
                parts.append((combining.get(char, 0), "", True))
        normalised: list[tuple[str, int]] = []
        place = -1
        for _, char, opens in _in_canonical_order(parts):
            place += opens
            normalised += [(low, spaced[place][1]) for c in char for low in self._lowered(c)]
        return "".join(char for char, _ in normalised), [origin for _, origin in normalised]


def _in_canonical_order(parts: list[tuple[int, str, bool]]) -> list[tuple[int, str, bool]]:
    """Sort each run of parts of a class above 0 by class, those of one class as they stand."""
    ordered: list[tuple[int, str, bool]] = []
    run: list[tuple[int, str, bool]] = []
    for part in parts:
        if part[0]:
            run.append(part)
        else:
            ordered += [*sorted(run, key=_combining_class), part]
            run = []
    return ordered + sorted(run, key=_combining_class)


def _combining_class(part: tuple[int, str, bool]) -> int:
    return part[0]


class _Images(dict[str, str]):
    """`BertNormalizer.image` of each character that was seen."""

    def __init__(self, normalizer: BertNormalizer) -> None:
        super().__init__()
        self.normalizer = normalizer

    def __missing__(self, char: str) -> str:
        image = self.normalizer.image(char)
        if len(self) < MAX_CACHED_CHARACTERS:
            self[char] = image
        return image
