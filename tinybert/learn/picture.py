"""`show`: a picture of an array, in a terminal, in a notebook and on a page."""

from __future__ import annotations

import html
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from shutil import get_terminal_size
from typing import Any

import numpy as np

from tinybert.autograd import Tensor
from tinybert.checks import check
from tinybert.columns import clip, columns_of, pad
from tinybert.display import visible

LARGEST = 512  # rows and columns
MARK = "\x00picture\x00"
_LABEL, _LONGEST = 14, 40  # columns of a label for which there is room in any case; at most
_NUMBER, _SHORT = 8, 10  # columns of a number with its ink; labels are not cut to fewer columns
_INK = " ░▒▓█"  # by magnitude
_ASCII = " .:*#"
_CELL, _TEXT, _LETTER = 44, 104, 7  # pixels: width of a cell with a number, a label, a letter


@dataclass(frozen=True)
class Picture:
    """A matrix with labels: `str()` draws it for a terminal, a notebook shows it as SVG.

    Attributes:
        matrix: (R, C), float64.
        name: the title.
        rows, cols: a label for each row and column.
    """

    matrix: np.ndarray
    name: str
    rows: tuple[str, ...]
    cols: tuple[str, ...]

    def text(self, width: int = 80, ink: str = _INK) -> str:
        """Return lines of at most `width` columns: numbers with ink if they fit, else ink alone."""
        title, size, count = visible(self.name), self._size(), self.matrix.shape[1]
        head = f"{title}  {size}".strip()
        lines = [head] if columns_of(head) <= width else [clip(title, width), clip(size, width)]
        longest = max(map(columns_of, map(visible, self.rows)))
        label = min(longest, _LONGEST)
        cell = self._cell(width - label - 1)
        if cell is None:
            label = min(longest, _LABEL)
            cell = self._cell(width - label - 1) or 2
        shown = max(1, min(count, (width - label - 1) // cell))
        if count > shown:
            lines.append(f"columns 0 to {shown - 1} of {count}")
        lines += [f"{'':{label}} {names}".rstrip() for names in self._header(cell, shown)]
        for name, pairs in zip(self.rows, self._inked(ink), strict=True):
            texts = [i * 2 if cell == 2 else f"{_number(x):>{cell - 1}}{i}" for x, i in pairs]
            row = pad(clip(visible(name), label), label)
            lines.append(f"{row} {''.join(texts[:shown])}".rstrip())
        return "\n".join(lines)

    def _cell(self, room: int) -> int | None:
        """Return the width of a cell with a number, its ink and a space; None if there is no room.

        It is wide enough for the labels of the columns, if that fits.
        """
        room //= self.matrix.shape[1]  # for each cell
        names = max(map(columns_of, map(visible, self.cols))) + 1
        number = max(len(_number(x)) for x in self.matrix.flat) + 2
        if room >= _NUMBER:
            return max(_NUMBER, min(names, room, _LONGEST))
        if np.isin(self.matrix, (0, 1)).all():  # ones and zeros are clear without numbers
            return None
        return room if room >= max(number, 6) else None

    def _header(self, cell: int, shown: int) -> list[str]:
        """Return the lines with the labels of the columns."""
        names = [visible(name) for name in self.cols[:shown]]
        longest = max(map(columns_of, names))
        if longest < cell or cell > _SHORT:
            return ["".join(pad(clip(x, cell - 1), cell - 1, cell > 2) + " " for x in names)]
        if cell == 2 and all(map(_is_number, names)):  # as many of them as fit
            step = next(k for k in (2, 5, 10, 20, 50, 100) if 2 * k > longest)
            return ["".join(pad(x, 2 * step) for x in names[: shown - longest // 2 : step])]
        names = [clip(name, _LABEL) for name in names]  # from top to bottom
        height, side = max(map(len, names)), max(2, cell - 1)
        return [
            "".join(pad(pad(x.rjust(height)[i], side, cell > 2), cell) for x in names)
            for i in range(height)
        ]

    def __str__(self) -> str:
        return self.text()

    def _size(self) -> str:
        rows, columns = self.matrix.shape
        return f"({rows} x {columns}, {self._range()})"

    def _range(self) -> str:
        finite = self.matrix[np.isfinite(self.matrix)]
        return f"{finite.min():.3g} to {finite.max():.3g}" if finite.size else "no finite number"

    def _shares(self) -> np.ndarray:
        """Each number as a share of the largest magnitude, from -1 to 1; NaN and infinity stay."""
        finite = np.abs(self.matrix[np.isfinite(self.matrix)])
        largest = float(finite.max(initial=0)) or 1.0
        return self.matrix / largest

    def _inked(self, ink: str) -> list[list[tuple[float, str]]]:
        shares = self._shares()
        return [
            [(x, _ink(share, ink)) for x, share in zip(*pair, strict=True)]
            for pair in zip(self.matrix, shares, strict=True)
        ]

    def svg(self) -> str:
        """Return the picture as SVG: blue is negative, orange positive; each cell has its value."""
        rows, columns = self.matrix.shape
        with_numbers = columns <= 16 and rows <= 40
        width = _CELL if with_numbers else max(4, min(20, 640 // columns))
        height = 22 if with_numbers else width
        left = _TEXT if any(self.rows) else 0
        title = f"{self.name}  {self._size()}".strip()
        names, turned, above = self._labels(width)
        top = 20 + above
        total = max(left + columns * width + turned, _LETTER * columns_of(title))
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{total}" '
            f'height="{top + rows * height}" font-family="sans-serif" font-size="11">',
            f"<title>{_escaped(title)}</title>",
            _text(0, 13, title, "start"),
        ]
        for c, name in names.items():
            parts.append(_text(left + (c + 0.5) * width, top - 5, name, turned=turned > 0))
        for r, (name, values) in enumerate(zip(self.rows, self._shares(), strict=True)):
            y = top + r * height
            if name:
                parts.append(_text(left - 6, y + height * 0.65, clip(name, _LABEL), "end"))
            for c, share in enumerate(values):
                x, value = left + c * width, self.matrix[r, c]
                fill, ink = _colour(share)
                parts.append(
                    f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}">'
                    f"<title>{_escaped(f'{name} {self.cols[c]}'.strip())}: {value:.6g}</title>"
                    "</rect>"
                )
                if with_numbers:
                    centre = x + width / 2
                    parts.append(_text(centre, y + 15, _number(value), "middle", ink))
        return "".join([*parts, "</svg>"])

    def _labels(self, width: int) -> tuple[dict[int, str], int, int]:
        """Return the labels of columns that fit, by column; and pixels at the right and above."""
        if not any(self.cols):
            return {}, 0, 0
        names = [clip(visible(name), _LABEL) for name in self.cols]
        longest = _LETTER * max(map(columns_of, names))
        if longest <= width:
            return dict(enumerate(names)), 0, 18
        if all(map(_is_number, names)):
            step = next(k for k in (1, 2, 5, 10, 20, 50, 100) if k * width > longest)
            return dict([*enumerate(names)][::step]), 0, 18
        if width < 11:  # the labels would overlap
            return {}, 0, 0
        return dict(enumerate(names)), longest // 2, longest * 7 // 8 + 8

    def _repr_html_(self) -> str:
        return self.svg()


# Where pictures go instead of the terminal, while a page is built.
_collected: list[Picture] | None = None


@contextmanager
def collected() -> Iterator[list[Picture]]:
    """Collect the pictures of `show` inside a `with` block; each also marks its place in the text.

    The mark is a line that holds `MARK` alone.
    """
    global _collected
    _collected = []
    try:
        yield _collected
    finally:
        _collected = None


def show(
    x: Any,
    name: str = "",
    *,
    rows: Sequence[str] | None = None,
    cols: Sequence[str] | None = None,
) -> None:
    """Show a picture of an array: in the terminal as numbers and blocks, in a notebook as SVG.

    Args:
        x: a Tensor, array or list with at most two axes; numbers or booleans.
        name: the title.
        rows, cols: labels, as tokens; numbers by default.

    Raises:
        ValueError: x has more axes, no numbers, or is too large; labels of another number.
    """
    picture = picture_of(x, name, rows, cols)
    if _collected is not None:
        _collected.append(picture)
        print(MARK)
        return
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and hasattr(shell, "kernel"):
        from IPython.display import display

        display(picture)
        return
    encoding = sys.stdout.encoding or "ascii"
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = get_terminal_size().columns if has_width else 80
    try:
        _INK.encode(encoding)
        ink = _INK
    except (UnicodeEncodeError, LookupError):
        ink = _ASCII
    text = picture.text(width, ink).encode(encoding, "replace").decode(encoding)
    print(text)


def picture_of(
    x: Any, name: str = "", rows: Sequence[str] | None = None, cols: Sequence[str] | None = None
) -> Picture:
    """Return the picture that `show` shows."""
    array = np.asarray(x.numpy() if isinstance(x, Tensor) else x)
    check("x", array.dtype, array.dtype.kind in "biuf", "an array of numbers")
    check("x", array.shape, array.ndim <= 2 and array.size > 0, "an array of one or two axes")
    matrix = np.atleast_2d(array).astype(np.float64)
    check("x", array.shape, max(matrix.shape) <= LARGEST, f"at most {LARGEST} rows and columns")
    return Picture(
        matrix,
        name,
        _labels("rows", rows, matrix.shape[0], array.ndim == 2),
        _labels("cols", cols, matrix.shape[1], True),
    )


def _labels(
    name: str, labels: Sequence[str] | None, count: int, is_numbered: bool
) -> tuple[str, ...]:
    if labels is None:
        return tuple(str(i) if is_numbered else "" for i in range(count))
    check(name, labels, len(labels) == count, f"{count} labels")
    return tuple(map(str, labels))


def _number(x: float) -> str:
    """At most six characters, unless the exponent has three digits."""
    if not np.isfinite(x) or x == int(x):
        return f"{x:.0f}" if abs(x) < 1e5 or not np.isfinite(x) else f"{x:.0e}"
    if 0.001 <= abs(x) < 1000:
        texts = (f"{x:.{digits}f}" for digits in ([2, 1, 0] if abs(x) >= 0.01 else [3]))
        return next(text for text in texts if len(text) <= 6)
    return f"{x:.0e}"


def _is_number(label: str) -> bool:
    return label.strip("+-").replace(".", "", 1).isdecimal()


def _ink(share: float, ink: str) -> str:
    if np.isnan(share):
        return "?"
    return ink[round(min(1.0, abs(share)) * (len(ink) - 1))]


def _colour(share: float) -> tuple[str, str]:
    """The fill of a cell, from white to blue (negative) or orange, and the ink upon it."""
    if np.isnan(share):
        return "#c040c0", "white"
    end = (200, 90, 10) if share > 0 else (30, 90, 170)
    weight = min(1.0, abs(share))
    red, green, blue = (round(255 + (x - 255) * weight) for x in end)
    return f"#{red:02x}{green:02x}{blue:02x}", "white" if weight > 0.6 else "#222"


def _text(
    x: float,
    y: float,
    text: str,
    anchor: str = "middle",
    fill: str = "currentColor",
    turned: bool = False,
) -> str:
    place = f'x="{x:g}" y="{y:g}"'
    if turned:
        anchor, place = "start", f'{place} transform="rotate(-60 {x:g} {y:g})"'
    return f'<text {place} text-anchor="{anchor}" fill="{fill}">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    return html.escape(visible(text))
