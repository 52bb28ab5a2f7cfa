"""The normalizer of BERT, with the origin of each character of the result.

The steps are those of `basic.py`, in the order and with the tables of the Rust library: clean, put
spaces around Chinese characters, strip accents, lower-case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tinybert.text.basic import MAX_CACHED_CHARACTERS
from tinybert.text.rust_unicode import rust_unicode


class BertNormalizer:
    """Normalizes a text before it is split into words, as the "Fast" tokenizer of BERT does.

    Arguments:
        lowercase: lower-case each character by itself.
        strip_accents: decompose (NFD) and drop non-spacing marks; None means "if lowercase".
        handle_chinese_chars: put a space on each side of a Chinese character.
        clean_text: drop control characters, and replace whitespace by spaces.

    `chunk_pattern` matches the chunks between whitespace in a text; each can be normalized by
    itself. `word_pattern` matches the words of normalized text.
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
        """Return the normalized text, and for each of its characters the index of its origin."""
        if self.strip_accents and self._movable.search(text):
            return self._normalize_in_order(text)
        images = [self._images[char] for char in text]
        normalized = "".join(images)
        if len(normalized) == len(text) and "" not in images:
            return normalized, list(range(len(text)))
        return normalized, [i for i, image in enumerate(images) for _ in image]

    def _separators(self) -> str:
        """Return the whitespace that is not removed, as the inside of the [] of a pattern."""
        unicode = self._unicode
        chars = [chr(c) for first, last in unicode.whitespace.runs for c in range(first, last + 1)]
        kept = [c for c in chars if not (self.clean_text and c in unicode.removed)]
        return "".join(map(re.escape, kept))

    # One character at a time ----------------------------------------------------------------

    def image(self, char: str) -> str:
        """Return the result of all steps for one character."""
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

    # Marks that are reordered ---------------------------------------------------------------

    def _movable_chars(self) -> Iterator[str]:
        """Yield the characters that decomposition may reorder, and that are not dropped later."""
        combining = self._unicode.combining
        yield from (char for char in combining if char not in self._unicode.mark)
        for char, image in self._unicode.stripped.items():
            if any(c in combining for c in image):
                yield char

    def _normalize_in_order(self, text: str) -> tuple[str, list[int]]:
        """Return the result of `normalize` for a text whose combining characters may be reordered.

        The library numbers the characters after it sorts them: the origin of a character is the
        position that it moves to, not the one that it comes from.
        """
        spaced = [(char, i) for i, whole in enumerate(text) for char in self._spaced(whole)]
        parts: list[tuple[int, str, bool]] = []  # class, what is left of it, opens a character?
        for char, _ in spaced:
            combining = self._unicode.combining
            if left := self._unicode.without_accents(char):
                parts += [(combining.get(c, 0), c, k == 0) for k, c in enumerate(left)]
            else:
                parts.append((combining.get(char, 0), "", True))
        normalized: list[tuple[str, int]] = []
        position = -1
        for _, char, opens in _in_canonical_order(parts):
            position += opens
            normalized += [(low, spaced[position][1]) for c in char for low in self._lowered(c)]
        return "".join(char for char, _ in normalized), [origin for _, origin in normalized]


def _in_canonical_order(parts: list[tuple[int, str, bool]]) -> list[tuple[int, str, bool]]:
    """Sort each run of parts of a class above 0 by class; the sort is stable."""
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
    """A cache of `BertNormalizer.image` by character."""

    def __init__(self, normalizer: BertNormalizer) -> None:
        super().__init__()
        self.normalizer = normalizer

    def __missing__(self, char: str) -> str:
        image = self.normalizer.image(char)
        if len(self) < MAX_CACHED_CHARACTERS:
            self[char] = image
        return image
