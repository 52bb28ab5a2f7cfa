"""`AlignedText`: a text that is changed in steps and keeps the original offset of each character.

Normalizers change it, pre-tokenizers cut it, a model turns it into tokens. Inserted and replaced
characters get their offsets by the rules of the Rust library.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

Span = tuple[int, int]


class Token(NamedTuple):
    """A token of a text: its id, its name, and its characters start <= i < end."""

    id: int
    text: str
    start: int
    end: int


MAX_GROWTH = 64  # how many times as long a text may get; bytes of the form NFKD are 33
FREE_CHARACTERS = 8  # a text counts as this many characters more: MAX_GROWTH * 8 for an empty one

_SPANS = [(i, i + 1) for i in range(1000)]  # shared by all texts of usual length


class AlignedText:
    """Characters, each with the offsets (start, end) that it has in the original text.

    start: the start of this text in the original; text inserted in front gets this offset.
    limit: the most characters that it may have, and the most tokens that it may become. A change
        that exceeds the limit raises ValueError.
    """

    __slots__ = ("limit", "spans", "start", "text")

    def __init__(self, text: str, spans: list[Span], start: int, limit: int) -> None:
        self.text = text
        self.spans = spans
        self.start = start
        self.limit = limit

    @classmethod
    def of(cls, text: str, start: int = 0, limit: int | None = None) -> AlignedText:
        """Return a part of an original text that begins at `start`."""
        end = start + len(text)
        limit = growth_limit(len(text)) if limit is None else limit
        if end <= len(_SPANS):
            return cls(text, _SPANS[start:end], start, limit)
        return cls(text, [(i, i + 1) for i in range(start, end)], start, limit)

    def part(self, start: int, end: int) -> AlignedText:
        """Return the characters start <= i < end, at least one, with their share of the limit."""
        spans = self.spans[start:end]
        limit = self.limit * (end - start) // len(self.text)
        return AlignedText(self.text[start:end], spans, spans[0][0], limit)

    def set(self, text: str, spans: list[Span]) -> None:
        """Replace the text and the offsets of its characters."""
        check_growth(len(text), self.limit)
        self.text, self.spans = text, spans

    def transform(self, changes: Iterable[tuple[str, int]]) -> None:
        """Replace the whole text by new characters, each given with a number.

        0: it replaces the next old character; -n: that one and the n after it, and gets the offsets
        of the first; 1: it is inserted, and gets the offsets of the old character before it.
        """
        spans: list[Span] = []
        chars: list[str] = []
        next_old = 0
        for char, change in changes:
            chars.append(char)
            if change > 0:
                spans.append(self.spans[next_old - 1] if next_old else (self.start, self.start))
            else:
                spans.append(self.spans[next_old])
                next_old += 1 - change
        self.set("".join(chars), spans)

    def keep(self, indices: Iterable[int]) -> None:
        """Drop all characters but those at `indices`, in increasing order."""
        indices = list(indices)
        self.set("".join([self.text[i] for i in indices]), [self.spans[i] for i in indices])

    def prepend(self, text: str) -> None:
        """Insert `text` in front; it gets the offsets of the first character."""
        self.set(text + self.text, self.spans[:1] * len(text) + self.spans)

    def replace(self, matches: Iterable[Span], content: str) -> None:
        """Replace each match by `content`, which gets the offsets of its last character."""
        matches = list(matches)
        removed = sum([end - start for start, end in matches])
        check_growth(len(self.text) - removed + len(content) * len(matches), self.limit)
        text: list[str] = []
        spans: list[Span] = []
        done = 0
        for start, end in matches:
            text += (self.text[done:start], content)
            spans += self.spans[done:start]
            spans += [self.spans[end - 1] if end else (self.start, self.start)] * len(content)
            done = end
        self.set("".join([*text, self.text[done:]]), spans + self.spans[done:])


def growth_limit(size: int) -> int:
    """Return how many characters or tokens may be made of a text of `size` characters."""
    return MAX_GROWTH * (FREE_CHARACTERS + size)


def check_growth(size: int, limit: int) -> None:
    """Raise ValueError if a text would have more characters, or tokens, than its limit."""
    if size > limit:
        raise ValueError(f"the parts of the file make a text more than {MAX_GROWTH} times as long")


def char_spans(text: str, sizes: Iterable[int]) -> list[Span]:
    """Return the offsets of consecutive tokens, given their sizes in UTF-8 bytes.

    A token that begins or ends within a character covers the whole character.
    """
    spans: list[Span] = []
    start = 0
    for size in sizes:
        spans.append((start, start + size))
        start += size
    if not text.isascii():
        chars = [i for i, c in enumerate(text) for _ in c.encode("utf-8", "surrogatepass")]
        spans = [(chars[start], chars[end - 1] + 1) for start, end in spans]
    return spans
