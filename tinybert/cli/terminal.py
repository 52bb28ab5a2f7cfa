"""Plain text for terminals: aligned tables, cut and wrapped texts, sizes for people.

Widths are counted in columns of the terminal, of which a Chinese character takes two.
"""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

NARROWEST = 30


def terminal_width() -> int:
    """Columns that a line may take: those of the terminal or of $COLUMNS, else 80."""
    return max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)


def columns_of(text: str) -> int:
    """The columns that a text takes."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def one_line(text: str) -> str:
    """The text with every run of white space as one space, and control characters shown as ?."""
    return "".join("?" if c < " " or c == "\x7f" else c for c in " ".join(text.split()))


def shorten(text: str, width: int) -> str:
    """The text in one line of at most `width` columns; a cut is marked by an ellipsis."""
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
    """Like `shorten`, but keeps the end: the last parts of a dotted name tell most."""
    return shorten(text[::-1], width)[::-1]


def pad(text: str, width: int, right: bool = False) -> str:
    """The text filled up with spaces; `right` aligns it there."""
    filling = " " * max(0, width - columns_of(text))
    return filling + text if right else text + filling


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Lines with aligned columns, the heads first; `sides` has "l" or "r" for every column."""
    lines = [heads, *rows]
    widths = [max(columns_of(line[i]) for line in lines) for i in range(len(heads))]
    return [
        "  ".join(
            pad(cell, width, side == "r")
            for cell, width, side in zip(line, widths, sides, strict=True)
        ).rstrip()
        for line in lines
    ]


def fold(words: Sequence[str], width: int, separator: str = " ") -> list[str]:
    """Words in lines of at most `width` columns, never cut within a word unless it is longer."""
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
    """Bytes in units of 1000: `90.9 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.95:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def print_json(value: Any) -> None:
    """Print a result as JSON: rows of numbers and small objects in a line each.

    Where the output's encoding lacks a character, all are written as \\uXXXX, which says the same.
    Raises ValueError for NaN and infinities, which JSON does not have.
    """
    text = _json(value, "", False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = _json(value, "", True)
    print(text)


def _json(value: Any, margin: str, ascii_only: bool) -> str:
    members = list(value.values() if isinstance(value, dict) else value) if _is_nest(value) else []
    if not any(map(_is_nest, members)):
        return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False)
    inner = margin + "  "
    parts = [_json(member, inner, ascii_only) for member in members]
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(key, ensure_ascii=ascii_only)}: {part}"
            for key, part in zip(value, parts, strict=True)
        ]
    first, last = "{}" if isinstance(value, dict) else "[]"
    return first + ",".join(f"\n{inner}{part}" for part in parts) + f"\n{margin}{last}"


def _is_nest(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple))
