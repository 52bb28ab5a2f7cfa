"""A row of tokens that remembers the text: which characters, which word, which of two texts.

Rows are built, cut, joined and padded here; how a text becomes tokens is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from operator import attrgetter
from typing import NamedTuple


class CharSpan(NamedTuple):
    """Characters start <= i < end of a text."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens start <= i < end of a row."""

    start: int
    end: int


@dataclass
class Encoding:
    """One row of a `BatchEncoding`, a column of T entries for each property of its tokens.

    ids, type_ids, attention_mask, special_tokens_mask: what a model is given.
    tokens: normalised text, "##" before what continues a word.
    offsets: (start, end) in the text as it was given, or in its word if it was split before;
        (0, 0) for tokens that stand for no text.
    word_ids: the number of the word in its text, None for tokens that stand for no text.
    sequence_ids: 0 for the first text, 1 for the second, None for neither.
    n_sequences: how many texts the row is made of, 1 or 2; the second may be empty.
    """

    ids: list[int]
    type_ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    word_ids: list[int | None]
    sequence_ids: list[int | None]
    special_tokens_mask: list[int]
    attention_mask: list[int]
    n_sequences: int = field(default=1, kw_only=True)

    @classmethod
    def of_text(
        cls,
        ids: list[int],
        tokens: list[str],
        offsets: list[tuple[int, int]],
        word_ids: list[int | None],
        sequence: int,
    ) -> Encoding:
        """The tokens of the first (`sequence` 0) or second (1) text of a row."""
        n = len(ids)
        return cls(ids, [sequence] * n, tokens, offsets, word_ids, [sequence] * n, [0] * n, [1] * n)

    @classmethod
    def of_special(
        cls, token_id: int, token: str, type_id: int = 0, count: int = 1, attention: int = 1
    ) -> Encoding:
        """`count` equal tokens that stand for no text."""
        return cls(
            ids=[token_id] * count,
            type_ids=[type_id] * count,
            tokens=[token] * count,
            offsets=[(0, 0)] * count,
            word_ids=[None] * count,
            sequence_ids=[None] * count,
            special_tokens_mask=[1] * count,
            attention_mask=[attention] * count,
        )

    @classmethod
    def joined(cls, parts: Sequence[Encoding]) -> Encoding:
        """The parts one after another."""
        columns = zip(*(part._columns() for part in parts), strict=True)
        n_sequences = max(part.n_sequences for part in parts)
        return cls(*(list(chain.from_iterable(same)) for same in columns), n_sequences=n_sequences)

    def part(self, start: int, end: int) -> Encoding:
        """The tokens start <= i < end."""
        return Encoding(*(column[start:end] for column in self._columns()))

    def padded(self, length: int, token_id: int, token: str, side: str) -> Encoding:
        """The row filled up to `length` with a pad token; a longer one as it is."""
        if len(self) >= length:
            return self
        filler = Encoding.of_special(token_id, token, count=length - len(self), attention=0)
        return Encoding.joined([self, filler] if side == "right" else [filler, self])

    def _columns(self) -> tuple[list, ...]:
        return _columns_of(self)

    def __len__(self) -> int:
        return len(self.ids)

    # From tokens to words and characters, and back -------------------------------------------

    def token_to_sequence(self, token: int) -> int | None:
        """Which text the token is of."""
        return self.sequence_ids[token] if 0 <= token < len(self) else None

    def token_to_word(self, token: int) -> int | None:
        """The number of the token's word in its text."""
        return self.word_ids[token] if 0 <= token < len(self) else None

    def token_to_chars(self, token: int) -> CharSpan | None:
        """The characters of the token in its text."""
        stands_for_text = self.token_to_sequence(token) is not None
        return CharSpan(*self.offsets[token]) if stands_for_text else None

    def word_to_tokens(self, word: int, sequence: int = 0) -> TokenSpan | None:
        """The tokens of a word of text 0 or 1."""
        places = [
            i
            for i, found in enumerate(zip(self.word_ids, self.sequence_ids, strict=True))
            if found == (word, sequence)
        ]
        return TokenSpan(places[0], places[-1] + 1) if places else None

    def word_to_chars(self, word: int, sequence: int = 0) -> CharSpan | None:
        """The characters of a word of text 0 or 1."""
        span = self.word_to_tokens(word, sequence)
        if span is None:
            return None
        return CharSpan(self.offsets[span.start][0], self.offsets[span.end - 1][1])

    def char_to_token(self, char: int, sequence: int = 0) -> int | None:
        """The token that covers a character of text 0 or 1."""
        for i, (start, end) in enumerate(self.offsets):
            if start <= char < end and self.sequence_ids[i] == sequence:
                return i
        return None

    def char_to_word(self, char: int, sequence: int = 0) -> int | None:
        """The number of the word that covers a character of text 0 or 1."""
        token = self.char_to_token(char, sequence)
        return None if token is None else self.token_to_word(token)


_columns_of = attrgetter(*(column.name for column in fields(Encoding)[:-1]))  # not n_sequences
