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


class CharSpan(NamedTuple):
    """Characters start <= i < end of a text."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens start <= i < end of a row."""

    start: int
    end: int


class Encoding:
    """One row of a `BatchEncoding`: a column of T entries for each property of its tokens.

    ids, type_ids, attention_mask, special_tokens_mask: the inputs of a model.
    tokens: normalized text; "##" marks the continuation of a word in WordPiece.
    offsets: (start, end) in the text as it was given, or in its word if it was split into words;
        (0, 0) for tokens that are not from the text.
    word_ids: the index of the word in its text, None for tokens that are not from the text.
    sequence_ids: 0 for the first text, 1 for the second, None for neither.
    n_sequences: how many texts the row is made of, 1 or 2; the second may be empty.

    `column(name)` makes a column when it is first used, since often only the ids are used. The data
    that it depends on must not change until then.
    """

    ids: list[int]
    type_ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    word_ids: list[int | None]
    sequence_ids: list[int | None]
    special_tokens_mask: list[int]
    attention_mask: list[int]

    def __init__(self, column: Callable[[str], list[Any]], n_sequences: int = 1) -> None:
        self._column = column
        self.n_sequences = n_sequences

    def __getattr__(self, name: str) -> list[Any]:
        if name not in COLUMNS:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        value = self._column(name)
        setattr(self, name, value)
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        columns = {name: getattr(self, name) for name in COLUMNS}
        return Encoding.of_columns, (columns, self.n_sequences)

    def __len__(self) -> int:
        return len(self.ids)

    # Making rows ----------------------------------------------------------------------------

    @classmethod
    def of_columns(cls, columns: Mapping[str, list[Any]], n_sequences: int = 1) -> Encoding:
        """Return a row with these columns."""
        return cls(columns.__getitem__, n_sequences)

    @classmethod
    def of_ids(cls, ids: list[int], sequence: int) -> Encoding:
        """Return a row of text 0 or 1 (`sequence`), of which only the ids are known."""
        values: dict[str, Any] = {"ids": ids, "type_ids": sequence, "sequence_ids": sequence}
        return cls._filled(len(ids), values)

    @classmethod
    def of_special(
        cls, token_id: int, token: str, type_id: int = 0, count: int = 1, attention: int = 1
    ) -> Encoding:
        """Return `count` equal tokens that are not from a text."""
        values = {"ids": token_id, "tokens": token, "type_ids": type_id}
        return cls._filled(count, {**values, "attention_mask": attention, "special_tokens_mask": 1})

    @classmethod
    def _filled(cls, count: int, values: Mapping[str, Any]) -> Encoding:
        """Return `count` tokens with these columns, or the same value in the whole column."""
        defaults = {"tokens": "", "offsets": (0, 0), "word_ids": None, "sequence_ids": None}
        columns = {
            **dict.fromkeys(COLUMNS, 0),
            **defaults,
            "attention_mask": 1,
            **values,
        }
        return cls.of_columns(
            {n: v if isinstance(v, list) else [v] * count for n, v in columns.items()}
        )

    def part(self, start: int, end: int) -> Encoding:
        """Return the tokens start <= i < end."""
        return Encoding(lambda name: getattr(self, name)[start:end])

    def with_columns(self, columns: Mapping[str, Callable[[Encoding], list[Any]]]) -> Encoding:
        """Return the row with some columns replaced, each by a function of this row."""
        return Encoding(
            lambda name: columns[name](self) if name in columns else getattr(self, name),
            self.n_sequences,
        )

    def padded(self, length: int, token_id: int, token: str, side: str) -> Encoding:
        """Return the row filled up to `length` with a pad token; a longer row as it is."""
        if len(self) >= length:
            return self
        filler = Encoding.of_special(token_id, token, count=length - len(self), attention=0)
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


def joined(parts: Sequence[Encoding], n_sequences: int = 1) -> Encoding:
    """Return the parts of a row, which may be none, one after another."""
    if len(parts) == 1 and parts[0].n_sequences == n_sequences:
        return parts[0]

    def column(name: str) -> list[Any]:
        return list(chain.from_iterable([getattr(part, name) for part in parts]))

    return Encoding(column, n_sequences)
