"""Text output for terminals: aligned tables, bars, sizes, JSON; and the texts of `columns.py`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from tinybert.columns import columns_of, one_line, pad, shorten, shorten_start, wrap
from tinybert.display import visible

__all__ = [
    "columns_of",
    "human_size",
    "one_line",
    "pad",
    "print_json",
    "score_bar",
    "shorten",
    "shorten_start",
    "table",
    "terminal_width",
    "wrap",
]

MIN_WIDTH = 30
BAR_WIDTH = 24  # columns of a bar for a score of 1
EIGHTHS = " ▏▎▍▌▋▊▉"


def terminal_width(piped: int = 80) -> int:
    """Return the width of the terminal in columns: $COLUMNS, its own, or `piped` without one."""
    return max(MIN_WIDTH, shutil.get_terminal_size((piped, 24)).columns)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], alignment: str) -> list[str]:
    """Return the lines of a table, header first; `alignment` has "l" or "r" for every column."""
    lines = [[visible(cell) for cell in line] for line in (header, *rows)]
    widths = [max(columns_of(line[i]) for line in lines) for i in range(len(header))]
    return [
        "  ".join(
            pad(cell, width, side == "r")
            for cell, width, side in zip(line, widths, alignment, strict=True)
        ).rstrip()
        for line in lines
    ]


def score_bar(score: float) -> str:
    """Return a bar for a score from 0 to 1, in steps of an eighth of a column."""
    full, eighths = divmod(round(min(max(score, 0.0), 1.0) * BAR_WIDTH * 8), 8)
    return ("█" * full + EIGHTHS[eighths]).rstrip()


def human_size(size: float) -> str:
    """Format a number of bytes in units of 1000, such as `90.9 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.95:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def print_json(value: Any) -> None:
    """Print a value as JSON, with each innermost list or object in one line.

    If the output's encoding lacks a character, all non-ASCII characters are written as \\uXXXX.
    Raises ValueError for NaN and infinity, which JSON does not have.
    """
    text = _json(value, "", False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = _json(value, "", True)
    print(text)


def _json(value: Any, margin: str, ascii_only: bool) -> str:
    nested = _is_nested(value)
    members = list(value.values() if isinstance(value, dict) else value) if nested else []
    if not any(map(_is_nested, members)):
        return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False)
    inner = margin + "  "
    parts = [_json(member, inner, ascii_only) for member in members]
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(key, ensure_ascii=ascii_only)}: {part}"
            for key, part in zip(value, parts, strict=True)
        ]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return opening + ",".join(f"\n{inner}{part}" for part in parts) + f"\n{margin}{closing}"


def _is_nested(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple))
