"""Tables with one row per tensor, for `inspect` and `diff`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tinybert.cli.terminal import columns_of, shorten_start, table, terminal_width

UNLIMITED = 10**6  # columns, if the output is not a terminal
MIN_NAME_WIDTH = 12


def shape_text(shape: Sequence[int]) -> str:
    """Format a shape as `30522x384`."""
    return "x".join(map(str, shape)) or "scalar"


def tensor_table(header: Sequence[str], rows: Sequence[Sequence[str]], alignment: str) -> list[str]:
    """Return a table whose first column, a tensor's name, is shortened to fit the terminal."""
    rest = table(header[1:], [row[1:] for row in rows], alignment[1:])
    available = UNLIMITED
    if sys.stdout.isatty():
        available = terminal_width() - 2 - max(map(columns_of, rest))
    width = max(MIN_NAME_WIDTH, available)
    return table(header, [[shorten_start(row[0], width), *row[1:]] for row in rows], alignment)
