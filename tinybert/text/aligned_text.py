"""A stretch of text that changes step by step, and remembers where each character comes from.

This is what the parts of a tokenizer.json work on: normalisers change it, pre-tokenizers cut it,
a model makes tokens of it. The rules by which an inserted or replaced character gets its place are
those of the Rust library.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

Span = tuple[int, int]


class Token(NamedTuple):
    """A token of a stretch of text: its id, its name, and characters start <= i < end."""

    id: int
    text: str
    start: int
    end: int


_SPANS = [(i, i + 1) for i in range(1000)]  # shared by all texts of usual length


class AlignedText:
    """Characters, each with the characters (start, end) of the original text it stands for.

    start: where the stretch begins in the original; what is inserted in front has this place.
    """

    __slots__ = ("spans", "start", "text")

    def __init__(self, text: str, spans: list[Span], start: int = 0) -> None:
        self.text = text
        self.spans = spans
        self.start = start

    @classmethod
    def of(cls, text: str, start: int = 0) -> AlignedText:
        """Return a part of an original text that begins at `start`."""
        end = start + len(text)
        if end <= len(_SPANS):
            return cls(text, _SPANS[start:end], start)
        return cls(text, [(i, i + 1) for i in range(start, end)], start)

    def part(self, start: int, end: int) -> AlignedText:
        """The characters start <= i < end, which must not be none."""
        spans = self.spans[start:end]
        return AlignedText(self.text[start:end], spans, spans[0][0])

    def set(self, text: str, spans: list[Span]) -> None:
        """Let the stretch be another text, with the places of its characters."""
        self.text, self.spans = text, spans

    def transform(self, changes: Iterable[tuple[str, int]]) -> None:
        """Replace the whole text, given each new character with a number that tells its place.

        0: it stands for the next old character; -n: for that and the n after it, and has the place
        of the first; 1: it is inserted, and has the place of the old one before it.
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

    def keep(self, places: Iterable[int]) -> None:
        """Drop all characters but those at `places`, which rise."""
        places = list(places)
        self.set("".join([self.text[i] for i in places]), [self.spans[i] for i in places])

    def prepend(self, text: str) -> None:
        """Put `text`, which gets the place of the first character, in front."""
        self.set(text + self.text, self.spans[:1] * len(text) + self.spans)

    def replace(self, matches: Iterable[Span], content: str) -> None:
        """Put `content` for each stretch in `matches`; it gets the place of its last character."""
        text: list[str] = []
        spans: list[Span] = []
        done = 0
        for start, end in matches:
            text += (self.text[done:start], content)
            spans += self.spans[done:start]
            spans += [self.spans[end - 1] if end else (self.start, self.start)] * len(content)
            done = end
        self.set("".join([*text, self.text[done:]]), spans + self.spans[done:])


def char_spans(text: str, sizes: Iterable[int]) -> list[Span]:
    """Where tokens stand that follow each other, from their sizes in bytes of UTF-8.

    A token that begins or ends within a character has all of it.
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
