"""`show`: a picture of an array, in a terminal, in a notebook and on a page."""

from __future__ import annotations

import html
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
_LABEL = 14  # columns of a label, at most
_NUMBER = 8  # columns of a number with its ink
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
        label = min(_LABEL, max(map(columns_of, self.rows), default=0))
        count = self.matrix.shape[1]
        head = visible(self.name) + f"  {self._size()}" * bool(self.name)
        lines = [clip(head, width)] if self.name else []
        if count * _NUMBER <= width - label - 1:
            names = "".join(
                pad(clip(visible(n), _NUMBER - 2), _NUMBER - 1, True) + " " for n in self.cols
            )
            lines.append((" " * label + names).rstrip())
            cell = [
                [f"{_number(x):>{_NUMBER - 1}}{i}" for x, i in pair] for pair in self._inked(ink)
            ]
        else:
            shown = max(1, (width - label - 1) // 2)
            if count > shown:
                lines.append(f"columns 0 to {shown - 1} of {count}")
            cell = [[i * 2 for _, i in pair][:shown] for pair in self._inked(ink)]
        for name, cells in zip(self.rows, cell, strict=True):
            lines.append(f"{pad(clip(visible(name), label), label)} {''.join(cells)}".rstrip())
        return "\n".join(lines)

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
        top = 20 * bool(self.name) + 18 * (any(self.cols) and width >= 20)
        total = max(left + columns * width, _LETTER * columns_of(self.name))
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{total}" '
            f'height="{top + rows * height}" font-family="sans-serif" font-size="11">',
            f"<title>{_escaped(self.name)} {self._size()}</title>",
        ]
        if self.name:
            parts.append(_text(0, 13, self.name, "start", "currentColor"))
        if top >= 18 + 20 * bool(self.name):
            for c, name in enumerate(self.cols):
                parts.append(_text(left + (c + 0.5) * width, top - 5, name[:6]))
        for r, (name, values) in enumerate(zip(self.rows, self._shares(), strict=True)):
            y = top + r * height
            if name:
                parts.append(_text(left - 6, y + height * 0.65, name[:14], "end"))
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
    width = get_terminal_size().columns if sys.stdout.isatty() else 80
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
    """At most six characters."""
    if not np.isfinite(x) or x == int(x):
        return f"{x:.0f}" if abs(x) < 1e5 or not np.isfinite(x) else f"{x:.0e}"
    return f"{x:.2f}" if 0.01 <= abs(x) < 1000 else f"{x:.0e}"


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


def _text(x: float, y: float, text: str, anchor: str = "middle", fill: str = "currentColor") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{fill}">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    return html.escape(visible(text))
