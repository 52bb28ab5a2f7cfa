"""Labelled examples of a task, tokenized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinybert.progress import progress_bar
from tinybert.training.readers import Row, column_of

if TYPE_CHECKING:
    from tinybert.training.tasks.base import Task

Example = dict[str, Any]  # the model's inputs, lists of T numbers, and its labels


class EncodedExamples:
    """The examples of rows, tokenized once.

    Args:
        places: names the rows in error messages; by default "row 1", "row 2", ...

    Attributes:
        rows: as they were given.
        row_numbers: (N,) the index of the row of each example; a long row has several.
        lengths: (N,) the number of tokens of each example.

    Raises ValueError, naming the row, for a label or text that the task cannot use.
    """

    def __init__(
        self, task: Task, rows: Sequence[Row], places: Sequence[str] | None = None
    ) -> None:
        self.rows = rows
        self._examples: list[Example] = []
        numbers: list[int] = []
        with progress_bar("tokenizing", len(rows), " rows") as advance:
            for number, row in enumerate(rows):
                try:
                    self._examples += task.encode(row)
                except (ValueError, TypeError) as error:
                    place = places[number] if places else f"row {number + 1}"
                    raise ValueError(f"{place}: {error}") from None
                numbers += [number] * (len(self._examples) - len(numbers))
                advance(1)
        self.row_numbers = np.array(numbers)
        self.lengths = np.array([np.shape(e["input_ids"])[-1] for e in self._examples])

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


def rename_columns(
    rows: Sequence[Row], renamed: Sequence[str], task: Task, where: str
) -> list[Row]:
    """Give the columns of rows the names of a task.

    Args:
        renamed: "name=column" for each column of another name.
        where: the file, for error messages.

    Raises ValueError for a name that the task does not have, and if the rows lack a column that the
    task needs or that `renamed` names.
    """
    columns = {name: name for name in task.columns} | column_names(renamed, task.all_columns)
    return [
        {**row, **{name: column_of(row, name, column, f"{where}: row {number}")
                   for name, column in columns.items()}}
        for number, row in enumerate(rows, 1)
    ]  # fmt: skip


def column_names(renamed: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Return the column of each name in items "name=column"; ValueError for an unknown name."""
    names = {}
    for item in renamed:
        name, separator, column = item.partition("=")
        if not separator or name not in known:
            raise ValueError(
                f"--column must be NAME=COLUMN with NAME one of {', '.join(known)}, got {item!r}"
            )
        names[name] = column
    return names
