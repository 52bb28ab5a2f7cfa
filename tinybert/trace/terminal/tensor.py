"""The chosen tensor: a table of numbers around the cursor, a heat map, the numbers of a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.columns import clip, pad
from tinybert.trace.terminal.look import Line, Look
from tinybert.trace.terminal.session import Session
from tinybert.trace.values import thumbnail

CELL = 12  # columns of a number and the brackets of the cursor, "[-1.235e-05]"
LABEL = 10  # columns of the name of a row
WARM = (236, 94, 130, 166, 208, 214)  # of the 256 colours: 0 to the largest positive number
COLD = (236, 23, 24, 31, 32, 39)
MASKED = 1e30  # scores of masked tokens, about -3e38, would leave no colours for the others
INK = " .:-=+*#%@"  # from 0 to the largest magnitude


def number(x: Any) -> str:
    """Return a number in at most 10 columns."""
    return str(x) if isinstance(x, (bool, np.bool_)) else f"{x:.4g}"


def element(session: Session) -> str:
    """Return the chosen number with its index, to all its digits: "y[0, 5, 3, 2] = 0.1234567"."""
    matrix = session.matrix
    if matrix.size == 0:
        return f"{session.value.name} is empty"
    if session.value.array is None:  # an index of the thumbnail is none of the tensor
        return f"{session.value.name}: about {matrix[session.cursor]!s}"
    index = ", ".join(map(str, session.index))
    return f"{session.value.name}[{index}] = {matrix[session.cursor]!s}"


def describe(session: Session) -> list[Line]:
    """Return the lines above the numbers: the chosen tensor, its slice, its statistics."""
    value, found = session.value, session.value.statistics
    lines: list[Line] = [[(element(session), "bold")]]
    sizes = value.shape[:-2] if value.array is not None else ()
    if sizes:
        letters = value.axes or "." * len(value.shape)
        slices = [
            f"{letter} {place} of 0-{size - 1}"
            for letter, place, size in zip(letters, session.leading, sizes, strict=False)
        ]
        lines.append([(f"slice: {', '.join(slices)}; [ ] change it", "dim")])
    if value.array is None:
        lines.append([("a thumbnail: of each block the number of largest magnitude", "dim")])
    bad = f", NaN {found.nan}, inf {found.inf}" if found.nan or found.inf else ""
    lines.append(
        [
            (
                f"mean {found.mean:.4g}, std {found.std:.4g}, min {found.min:.4g}, "
                f"max {found.max:.4g}, zeros {100 * found.zeros:.3g}%{bad}",
                "dim",
            )
        ]
    )
    return lines


def draw(session: Session, width: int, height: int, look: Look) -> list[Line]:
    """Return at most `height` lines of the chosen view; below the table a map if there is room."""
    if session.matrix.size == 0 or height < 1:
        return []
    if session.view == "numbers":
        return numbers(session, width, height)
    if session.view == "map":
        return heat_map(session, width, height, look)
    lines = table(session, width, height)
    left = height - len(lines) - 1
    if left >= 4:
        lines += [[("", "")], *heat_map(session, width, left, look)]
    return lines


def around(place: int, count: int, shown: int) -> range:
    """Return `shown` places, or all, with the chosen one as near to the middle as can be."""
    shown = max(1, min(shown, count))
    start = max(0, min(place - shown // 2, count - shown))
    return range(start, start + shown)


def table(session: Session, width: int, height: int) -> list[Line]:
    """Return the numbers around the cursor, with the names of rows and columns."""
    matrix, (row, column) = session.matrix, session.cursor
    rows = around(row, matrix.shape[0], min(height - 1, 12))
    columns = around(column, matrix.shape[1], (width - LABEL) // CELL)
    row_names, column_names = session.labels(0), session.labels(1)
    lines: list[Line] = [
        [(" " * LABEL, ""), *((_cell(column_names[c], " ", " "), "dim") for c in columns)]
    ]
    for r in rows:
        line = [(pad(clip(row_names[r], LABEL - 1), LABEL), "dim")]
        for c in columns:
            chosen = (r, c) == (row, column)
            ends = "[]" if chosen else "  "
            line.append((_cell(number(matrix[r, c]), *ends), "cursor" if chosen else ""))
        lines.append(line)
    return lines[: max(0, height)]


def _cell(text: str, left: str, right: str) -> str:
    return pad(left + clip(text, CELL - 2) + right, CELL, right=True)


def numbers(session: Session, width: int, height: int) -> list[Line]:
    """Return the numbers of the cursor's row from the cursor on, one a line, to all digits."""
    matrix, (row, column) = session.matrix, session.cursor
    names = session.labels(1)
    name = session.labels(0)[row]
    lines: list[Line] = [[(f"row {row}" + (f", {name}" if name != str(row) else ""), "dim")]]
    for c in range(column, min(matrix.shape[1], column + height - 1)):
        lines.append([(pad(clip(names[c], LABEL - 1), LABEL), "dim"), (str(matrix[row, c]), "")])
    return lines[:height]


def heat_map(session: Session, width: int, height: int, look: Look) -> list[Line]:
    """Return a picture of the matrix: two rows a line as halves of a block, or ink in ASCII."""
    halves = look.blocks and look.colours >= 256
    matrix = session.matrix
    small = thumbnail(
        np.abs(matrix) if np.iscomplexobj(matrix) else matrix,
        max(1, (height - 1) * (2 if halves else 1)),
        max(1, width if halves else width // 2),
    ).astype(np.float64)
    finite = np.abs(small[np.abs(small) < MASKED])
    largest = float(finite.max()) if finite.size else 0.0
    share = np.clip(small, -largest, largest) / (largest or 1.0)
    marks = f"{-largest:.4g} {'blue, ' if halves else ''}{'orange ' if halves else 'to '}"
    legend = f"{marks}{largest:.4g}" + ("" if halves else f", ink by magnitude: {INK}")
    scale = max(1, min(4, width // (small.shape[1] * (1 if halves else 2))))
    lines: list[Line] = [[(f"{matrix.shape[0]} x {matrix.shape[1]}: {legend}", "dim")]]
    if not halves:
        for numbers_ in share:
            lines.append([(_ink(x) * 2 * scale, _sign(x)) for x in numbers_])
        return lines[:height]
    while scale > 1 and small.shape[0] * scale > (height - 1) * 2:
        scale -= 1
    share = np.repeat(share, scale, axis=0)
    for top in range(0, len(share), 2):
        below = share[top + 1] if top + 1 < len(share) else [None] * share.shape[1]
        lines.append(
            [
                ("▀" * scale, f"38;5;{_colour(a)}" + ("" if b is None else f";48;5;{_colour(b)}"))
                for a, b in zip(share[top], below, strict=True)
            ]
        )
    return lines[:height]


def _colour(x: float) -> int:
    if np.isnan(x):
        return 201  # magenta, in no other place
    ramp = WARM if x > 0 else COLD
    return ramp[round(abs(float(x)) * (len(ramp) - 1))]


def _ink(x: float) -> str:
    return "?" if np.isnan(x) else INK[round(abs(float(x)) * (len(INK) - 1))]


def _sign(x: float) -> str:
    return "negative" if x < 0 else "positive"
