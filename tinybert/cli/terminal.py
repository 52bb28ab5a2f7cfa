"""Text output for terminals: aligned tables, shortened and wrapped text, bars, sizes, JSON.

Widths are counted in columns of the terminal; a Chinese character takes two.
"""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

from tinybert.display import visible

MIN_WIDTH = 30
BAR_WIDTH = 24  # columns of a bar for a score of 1
EIGHTHS = " ▏▎▍▌▋▊▉"


def terminal_width(piped: int = 80) -> int:
    """Return the width of the terminal in columns: $COLUMNS, its own, or `piped` without one."""
    return max(MIN_WIDTH, shutil.get_terminal_size((piped, 24)).columns)


def columns_of(text: str) -> int:
    """Return the number of columns that a text takes."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if (escaped := visible(character)) != character:
        return len(escaped)
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def one_line(text: str) -> str:
    """Replace every run of whitespace by one space, and escape control characters."""
    return visible(" ".join(text.split()))


def shorten(text: str, width: int) -> str:
    """Return the text in one line of at most `width` columns, cut with an ellipsis if longer."""
    text = one_line(text)
    if columns_of(text) <= width:
        return text
    kept, used = "", 1
    for character in text:
        used += _columns(character)
        if used > width:
            break
        kept += character
    return kept.rstrip() + "…"


def shorten_start(text: str, width: int) -> str:
    """Like `shorten`, but keep the end, which matters most in a dotted name."""
    return shorten(one_line(text)[::-1], width)[::-1]


def pad(text: str, width: int, right: bool = False) -> str:
    """Pad the text with spaces to `width` columns, aligned at the left, or at the `right`."""
    spaces = " " * max(0, width - columns_of(text))
    return spaces + text if right else text + spaces


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


def wrap(words: Sequence[str], width: int, separator: str = " ") -> list[str]:
    """Join words to lines of at most `width` columns; a word that is longer is shortened."""
    lines = [""]
    for word in words:
        longer = lines[-1] + separator + word if lines[-1] else word
        if columns_of(longer) <= width:
            lines[-1] = longer
        elif lines[-1]:
            lines.append(shorten(word, width))
        else:
            lines[-1] = shorten(word, width)
    return lines


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
