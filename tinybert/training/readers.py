"""Read labelled examples from CSV, TSV, JSON lines and CoNLL files.

Every reader returns a list of rows: dicts from the name of a column to its value.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
TABLES = (".csv", ".tsv", ".jsonl", ".json")
SUFFIXES = (*TABLES, ".conll", ".txt")
MAX_FIELD = 1 << 24  # characters; Python's own limit is 131,072


def read_rows(path: str | os.PathLike[str], columns: Sequence[str] = ()) -> list[Row]:
    """Read a file by its suffix: .csv, .tsv, .jsonl (or .json), .conll (or .txt).

    columns: the names of the columns of a CoNLL file, and of a CSV or TSV file without a header.

    Raises ValueError, naming file and line, for a file that is not in its format or has no rows,
    and OSError if it cannot be read.
    """
    suffix = Path(path).suffix.lower()
    if suffix in (".csv", ".tsv"):
        rows = read_csv(path, "\t" if suffix == ".tsv" else ",", columns)
    elif suffix in (".jsonl", ".json"):
        rows = read_json_lines(path)
    elif suffix in (".conll", ".txt"):
        rows = read_conll(path, columns)
    else:
        raise ValueError(f"{os.fspath(path)}: the name must end with {', '.join(SUFFIXES)}")
    if not rows:
        raise ValueError(f"{os.fspath(path)}: there are no rows in this file")
    return rows


def read_csv(
    path: str | os.PathLike[str], delimiter: str = ",", columns: Sequence[str] = ()
) -> list[Row]:
    """Read a CSV file; its first line has the names of the columns, unless they are given."""
    csv.field_size_limit(MAX_FIELD)
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            names = list(columns) or next(reader, [])
            rows = [(reader.line_num, fields) for fields in reader if fields]
        except UnicodeDecodeError:
            raise ValueError(f"{os.fspath(path)} is not UTF-8; save the file as UTF-8") from None
        except csv.Error as error:
            raise ValueError(f"{os.fspath(path)}: line {reader.line_num}: {error}") from None
    for line, fields in rows:
        if len(fields) != len(names):
            raise ValueError(
                f"{os.fspath(path)}: line {line} has {len(fields)} fields, expected {len(names)} "
                f"({', '.join(names)})"
            )
    return [dict(zip(names, fields, strict=True)) for _, fields in rows]


def read_json_lines(path: str | os.PathLike[str]) -> list[Row]:
    """Read a file with a JSON object in each line."""
    rows = []
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{os.fspath(path)}: line {number}: {error}; each line must be a JSON object"
            ) from None
        if not isinstance(row, dict):
            raise ValueError(f"{os.fspath(path)}: line {number} is not a JSON object")
        rows.append(row)
    return rows


def read_conll(path: str | os.PathLike[str], columns: Sequence[str] = ()) -> list[Row]:
    """Read a CoNLL file: a word a line with its tags, an empty line after each sentence.

    columns: the names of the columns; by default "words" is the first and "tags" the last one.

    A row is a sentence, with a list for each column. Lines that begin with -DOCSTART- are skipped.
    """
    sentences: list[Row] = []
    words: list[list[str]] = []
    for number, line in (*read_lines(path), (0, "")):
        fields = line.split()
        if fields and fields[0] != "-DOCSTART-":
            if words and len(fields) != len(words[0]):
                raise ValueError(
                    f"{os.fspath(path)}: line {number} has {len(fields)} columns, the line before "
                    f"{len(words[0])}"
                )
            words.append(fields)
        elif words:
            sentences.append(_by_column(words, columns, os.fspath(path)))
            words = []
    return sentences


def _by_column(words: list[list[str]], columns: Sequence[str], path: str) -> Row:
    by_column = list(map(list, zip(*words, strict=True)))
    if not columns:
        return {"words": by_column[0], "tags": by_column[-1]}
    if len(columns) != len(by_column):
        raise ValueError(f"{path}: there are {len(by_column)} columns, but {len(columns)} names")
    return dict(zip(columns, by_column, strict=True))


def column_of(row: Row, name: str, column: str, where: str) -> Any:
    """Return the value of a column; ValueError, naming those that the row has, without one.

    Args:
        name: what the value is for.
        where: the file and the number of the row.
    """
    if row.get(column) is None:
        raise ValueError(
            f"{where} has no column {column!r}; it has {', '.join(map(str, row))} "
            f"(--column {name}=COLUMN names another one)"
        )
    return row[column]


def read_lines(
    path: str | os.PathLike[str], advance: Callable[[int], object] = lambda size: None
) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line; ValueError if one is not UTF-8.

    advance: called with the number of bytes of each line.
    """
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            advance(len(raw))
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise ValueError(
                    f"{os.fspath(path)}: line {number} is not UTF-8; save the file as UTF-8"
                ) from None
