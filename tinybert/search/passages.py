"""`Splitter`: split a text into passages, the units that a search compares with the query."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

import numpy as np

from tinybert.checks import check_choice
from tinybert.embedding import SentenceEmbedder

UNITS = ("passage", "line")
MAX_TOKENS = 512  # of a passage, if the model allows more
BYTES = 4  # a character has at most this number of bytes in UTF-8
SENTENCE_ENDS = (".", "!", "?", ":", "。", "！", "？")

Span = tuple[int, int]


class Splitter:
    """Splits texts into passages that the model can read without cutting them.

    Args:
        embedder: the model; its maximum length is that of a passage.
        by: "passage" for paragraphs, which are separated by blank lines, or "line".

    A longer paragraph or line is split, if possible at the end of a sentence, else of a line, else
    of a word. Lengths are sums over words, which is exact for WordPiece.
    """

    def __init__(self, embedder: SentenceEmbedder, by: str = "passage") -> None:
        check_choice("by", by, UNITS)
        self.by = by
        self.embedder = embedder
        special = embedder.tokenizer.num_special_tokens_to_add()
        self.limit = max(1, min(embedder.max_length, MAX_TOKENS) - special)
        # A word with the whitespace before it. Longer words are split; even if every byte of a
        # part is a token, the part is below the limit.
        self._word = re.compile(rf"\s*(\S{{1,{max(1, self.limit // BYTES)}}})")
        self._lengths: dict[str, int] = {}  # of all words so far, in tokens

    def split(self, text: str) -> list[Span]:
        """Return the start and end of every passage, in characters; no passage is blank."""
        whole = _lines(text) if self.by == "line" else _paragraphs(text)
        return [span for start, end in whole for span in self._fitting(text, start, end)]

    def _fitting(self, text: str, start: int, end: int) -> Iterator[Span]:
        """Yield the parts of a paragraph or line that fit the model."""
        if len(text[start:end].encode()) <= self.limit:  # a token has at least one byte
            yield start, end
            return
        words = list(self._word.finditer(text, start, end))
        total = np.cumsum([0, *self._count([word.group() for word in words])])
        first = 0
        while first < len(words):
            fit = int(np.searchsorted(total, total[first] + self.limit, side="right")) - 1
            last = max(fit, first + 1)
            if last < len(words):
                last = _good_end(words, first, last)
            yield words[first].start(1), words[last - 1].end()
            first = last

    def _count(self, words: list[str]) -> list[int]:
        """Return the number of tokens of each word."""
        if new := [word for word in dict.fromkeys(words) if word not in self._lengths]:
            texts = [word.lower() for word in new] if self.embedder.lower_case else new
            rows = self.embedder.tokenizer(texts, add_special_tokens=False, verbose=False)
            self._lengths.update(zip(new, map(len, rows["input_ids"]), strict=True))
        return [self._lengths[word] for word in words]


def _lines(text: str) -> Iterator[Span]:
    """Yield the start and end of every line that is not blank, without whitespace around it."""
    return ((start, end) for start, end in _all_lines(text) if start < end)


def _paragraphs(text: str) -> Iterator[Span]:
    """Yield the start and end of every run of lines that are not blank."""
    for is_blank, group in groupby(_all_lines(text), key=lambda span: span[0] == span[1]):
        if not is_blank:
            lines = list(group)
            yield lines[0][0], lines[-1][1]


def _all_lines(text: str) -> Iterator[Span]:
    begin = 0
    for line in text.split("\n"):
        start = begin + len(line) - len(line.lstrip())
        yield start, start + len(line.strip())
        begin += len(line) + 1


def _good_end(words: list[re.Match[str]], first: int, last: int) -> int:
    """Return where to end a passage of words[first:last], in its second half."""
    ends = range(last, (first + last) // 2, -1)
    sentences = (i for i in ends if words[i - 1].group().endswith(SENTENCE_ENDS))
    lines = (i for i in ends if "\n" in words[i].group())
    return next(sentences, None) or next(lines, last)
