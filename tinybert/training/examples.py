"""Labelled examples of a task, tokenized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinybert.progress import progress_bar
from tinybert.training.readers import Row
from tinybert.training.tasks.base import Example, Task


class EncodedExamples:
    """The examples of rows, tokenized once.

    Attributes:
        lengths: (N,) the number of tokens of each example.

    Raises ValueError, naming the row, for a label or text that the task cannot use.
    """

    def __init__(self, task: Task, rows: Sequence[Row]) -> None:
        self._examples: list[Example] = []
        with progress_bar("tokenizing", len(rows), " rows") as advance:
            for number, row in enumerate(rows, 1):
                try:
                    self._examples += task.encode(row)
                except (ValueError, TypeError, KeyError) as error:
                    raise ValueError(f"row {number}: {error}") from None
                advance(1)
        self.lengths = np.array([np.shape(e["input_ids"])[-1] for e in self._examples])

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


def rename_columns(
    rows: Sequence[Row], renamed: Sequence[str], task: Task, where: str
) -> list[dict[str, Any]]:
    """Give the columns of rows the names of a task.

    Args:
        renamed: "name=column" for each column of another name.
        where: the file, for error messages.

    Raises ValueError if the rows lack a column that the task needs.
    """
    names = dict(item.split("=", 1) for item in renamed if "=" in item)
    result = []
    for number, row in enumerate(rows, 1):
        row = {**row, **{name: row[column] for name, column in names.items() if column in row}}
        for name in task.columns:
            if row.get(name) is None:
                wanted = names.get(name, name)
                raise ValueError(
                    f"{where}: row {number} has no column {wanted!r}; it has {', '.join(row)} "
                    f"(--column {name}=COLUMN names another one)"
                )
        result.append(row)
    return result
