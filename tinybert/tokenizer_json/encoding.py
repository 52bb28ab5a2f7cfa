"""`Encoding`: a row of tokens, with the characters, the word and the text of each token.

Rows are built, cut, joined and padded here; how a text becomes tokens is in `pipeline.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

COLUMNS = (
    *("ids", "type_ids", "tokens", "offsets", "word_ids", "sequence_ids"),
    *("special_tokens_mask", "attention_mask"),
)


# The values of a token of which nothing is known.
UNKNOWN: Mapping[str, Any] = {
    "tokens": "",
    "offsets": (0, 0),
    "word_ids": None,
    "sequence_ids": None,
    "type_ids": 0,
    "special_tokens_mask": 0,
    "attention_mask": 1,
}


class CharSpan(NamedTuple):
    """Characters start <= i < end of a text."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens start <= i < end of a row."""

    start: int
    end: int


Columns = Mapping[str, Callable[["Encoding"], list[Any]]]  # new columns, by their names


class Encoding:
    """One row of a `BatchEncoding`: a column of T entries for each property of its tokens.

    ids, type_ids, attention_mask, special_tokens_mask: the inputs of a model.
    tokens: normalized text; "##" marks the continuation of a word in WordPiece.
    offsets: (start, end) in the text as it was given, or in its word if it was split into words;
        (0, 0) for tokens that are not from the text.
    word_ids: the index of the word in its text, None for tokens that are not from the text.
    sequence_ids: 0 for the first text, 1 for the second, None for neither.
    n_sequences: how many texts the row is made of, 1 or 2; the second may be empty.

    Most callers need only the ids. A subclass therefore makes the other columns with `_column`
    when they are first used; what it makes them from must not change in between.
    """

    ids: list[int]
    type_ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    word_ids: list[int | None]
    sequence_ids: list[int | None]
    special_tokens_mask: list[int]
    attention_mask: list[int]

    def __init__(self, columns: Mapping[str, list[Any]], n_sequences: int = 1) -> None:
        vars(self).update(columns)
        self.n_sequences = n_sequences

    def _column(self, name: str) -> list[Any]:
        """Return a column that was not given; defined by the subclasses."""
        raise NotImplementedError(f"{type(self).__name__} does not define _column")

    def __getattr__(self, name: str) -> list[Any]:
        if name not in COLUMNS:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        value = self._column(name)
        setattr(self, name, value)
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        columns = {name: getattr(self, name) for name in COLUMNS}
        return Encoding, (columns, self.n_sequences)

    def __len__(self) -> int:
        return len(self.ids)

    # Making rows ----------------------------------------------------------------------------

    def part(self, start: int, end: int) -> Encoding:
        """Return the tokens start <= i < end."""
        return _Part(self, start, end)

    def with_columns(self, columns: Columns) -> Encoding:
        """Return the row with some columns but `ids` replaced, each by a function of this row."""
        return _Changed(self, columns)

    def padded(
        self, length: int, token_id: int, token: str, side: str, type_id: int = 0
    ) -> Encoding:
        """Return the row filled up to `length` with a pad token; a longer row as it is."""
        if len(self) >= length:
            return self
        filler = special_token(token_id, token, type_id, length - len(self), attention=0)
        return joined([self, filler] if side == "right" else [filler, self], self.n_sequences)

    # From tokens to words and characters, and back -------------------------------------------

    def token_to_sequence(self, token: int) -> int | None:
        """Return the text, 0 or 1, of a token."""
        return self.sequence_ids[token] if 0 <= token < len(self) else None

    def token_to_word(self, token: int) -> int | None:
        """Return the index of the token's word in its text."""
        return self.word_ids[token] if 0 <= token < len(self) else None

    def token_to_chars(self, token: int) -> CharSpan | None:
        """Return the characters of the token in its text."""
        is_text = self.token_to_sequence(token) is not None
        return CharSpan(*self.offsets[token]) if is_text else None

    def word_to_tokens(self, word: int, sequence: int = 0) -> TokenSpan | None:
        """Return the tokens of a word of text 0 or 1."""
        found = [
            i
            for i, key in enumerate(zip(self.word_ids, self.sequence_ids, strict=True))
            if key == (word, sequence)
        ]
        return TokenSpan(found[0], found[-1] + 1) if found else None

    def word_to_chars(self, word: int, sequence: int = 0) -> CharSpan | None:
        """Return the characters of a word of text 0 or 1."""
        span = self.word_to_tokens(word, sequence)
        if span is None:
            return None
        return CharSpan(self.offsets[span.start][0], self.offsets[span.end - 1][1])

    def char_to_token(self, char: int, sequence: int = 0) -> int | None:
        """Return the token that covers a character of text 0 or 1."""
        for i, (start, end) in enumerate(self.offsets):
            if start <= char < end and self.sequence_ids[i] == sequence:
                return i
        return None

    def char_to_word(self, char: int, sequence: int = 0) -> int | None:
        """Return the index of the word that covers a character of text 0 or 1."""
        token = self.char_to_token(char, sequence)
        return None if token is None else self.token_to_word(token)


class _Part(Encoding):
    """The tokens start <= i < end of a row."""

    def __init__(self, row: Encoding, start: int, end: int) -> None:
        self.n_sequences = 1
        self._row, self._start, self._end = row, start, end

    def _column(self, name: str) -> list[Any]:
        return getattr(self._row, name)[self._start : self._end]


class _Changed(Encoding):
    """A row with some columns replaced, but not the ids."""

    def __init__(self, row: Encoding, columns: Columns) -> None:
        self.n_sequences = row.n_sequences
        self._row, self._columns = row, columns
        self.ids = row.ids

    def _column(self, name: str) -> list[Any]:
        columns, row = self._columns, self._row
        return columns[name](row) if name in columns else getattr(row, name)


class _Joined(Encoding):
    """The parts of a row one after another."""

    def __init__(self, parts: Sequence[Encoding], n_sequences: int) -> None:
        self.n_sequences = n_sequences
        self._parts = parts
        self.ids = []
        for part in parts:
            self.ids += part.ids

    def _column(self, name: str) -> list[Any]:
        return list(chain.from_iterable([getattr(part, name) for part in self._parts]))


class _Repeated(Encoding):
    """Equal tokens, with one value for each column; see `_values`."""

    def __init__(self, count: int, values: Mapping[str, Any]) -> None:
        self.n_sequences = 1
        self._count, self._values = count, values

    def _column(self, name: str) -> list[Any]:
        return [self._values[name]] * self._count


def joined(parts: Sequence[Encoding], n_sequences: int = 1) -> Encoding:
    """Return the parts of a row, which may be none, one after another."""
    if len(parts) == 1 and parts[0].n_sequences == n_sequences:
        return parts[0]
    return _Joined(parts, n_sequences)


def special_token(
    token_id: int, token: str, type_id: int = 0, count: int = 1, attention: int = 1
) -> Encoding:
    """Return `count` equal tokens that are not from a text."""
    values = {"ids": token_id, "tokens": token, "type_ids": type_id, "attention_mask": attention}
    return _Repeated(count, {**UNKNOWN, **values, "special_tokens_mask": 1})


def text_of_ids(ids: list[int], sequence: int) -> Encoding:
    """Return a row of text 0 or 1 (`sequence`), of which only the ids are known."""
    row = _Repeated(len(ids), {**UNKNOWN, "type_ids": sequence, "sequence_ids": sequence})
    row.ids = ids
    return row
