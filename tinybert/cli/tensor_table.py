"""Tables with a line a tensor, for the commands that look into files of weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tinybert.cli.terminal import columns_of, shorten_start, table, terminal_width

UNLIMITED = 10**6  # columns of a file
NARROWEST_NAME = 12


def shape_of(shape: Sequence[int]) -> str:
    """A shape as `30522x384`."""
    return "x".join(map(str, shape)) or "scalar"


def named_table(heads: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """A table whose first column is a tensor's name, cut where it would not fit the terminal."""
    rest = table(heads[1:], [row[1:] for row in rows], sides[1:])
    room = terminal_width() - 2 - max(map(columns_of, rest)) if sys.stdout.isatty() else UNLIMITED
    width = max(NARROWEST_NAME, room)
    return table(heads, [[shorten_start(row[0], width), *row[1:]] for row in rows], sides)
