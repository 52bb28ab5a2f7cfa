"""Rows whose columns are made when they are asked for: mostly only ids are.

A row of a thousand tokens has eight columns of a thousand entries; to make those that nobody looks
at takes more time than to find the ids. What the columns are is in `alignment.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from tinybert.tokenizer_json.encoding import Encoding

# New columns by name, each made from a row as it was.
Changes = Mapping[str, Callable[[Encoding], list[Any]]]

COLUMNS = (
    *("ids", "type_ids", "tokens", "offsets", "word_ids", "sequence_ids"),
    *("special_tokens_mask", "attention_mask"),
)


class LazyEncoding(Encoding):
    """An `Encoding` that makes each of its columns by its name, when it is first used.

    What a column is made of must not change meanwhile. A copy, and what is unpickled, is a plain
    `Encoding`.
    """

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
        return _plain, (self._columns(), self.n_sequences)

    def part(self, start: int, end: int) -> Encoding:
        return LazyEncoding(lambda name: getattr(self, name)[start:end])

    def padded(self, length: int, token_id: int, token: str, side: str) -> Encoding:
        if len(self) >= length:
            return self
        filler = Encoding.of_special(token_id, token, count=length - len(self), attention=0)
        return joined([self, filler] if side == "right" else [filler, self], self.n_sequences)


def joined(parts: Sequence[Encoding], n_sequences: int = 1) -> Encoding:
    """The parts of a row one after another; there may be none."""
    if len(parts) == 1 and parts[0].n_sequences == n_sequences:
        return parts[0]
    return LazyEncoding(partial(_joined_column, parts), n_sequences)


def _joined_column(parts: Sequence[Encoding], name: str) -> list[Any]:
    return list(chain.from_iterable([getattr(part, name) for part in parts]))


def changed(row: Encoding, columns: Changes) -> Encoding:
    """A row with other columns in place of some."""
    return LazyEncoding(partial(_changed_column, row, columns), row.n_sequences)


def _changed_column(row: Encoding, columns: Changes, name: str) -> list[Any]:
    return columns[name](row) if name in columns else getattr(row, name)


def _plain(columns: tuple[list[Any], ...], n_sequences: int) -> Encoding:
    return Encoding(*columns, n_sequences=n_sequences)
