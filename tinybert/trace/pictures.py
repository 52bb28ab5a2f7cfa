"""Pictures of a record as SVG, with text as text: arrays of a step, staircase, gradients.

They stand alone: light colours, no style sheet, no font but those of the reader.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinybert.display import visible
from tinybert.trace.html.layout import shape_text, staircase
from tinybert.trace.steps import Step
from tinybert.trace.values import Value, thumbnail
from tinybert.trace.walk import tree

if TYPE_CHECKING:
    from tinybert.trace.trace import Trace

ZERO, LOW, HIGH = (255, 255, 255), (8, 81, 156), (196, 78, 0)  # as the page in light colours
NAN, INK = "#b4009e", "#1b1f24"
MARGIN, GAP, LINE = 16, 44, 18  # pixels
LABEL = 90  # pixels of a token at the side
NUMBERED = 14  # rows and columns; with more, cells have no numbers
CHARACTER = 7  # pixels, on average


def colour(x: float, reach: float) -> str:
    """Return the colour of a number: white at 0, blue below and orange above, up to `reach`."""
    if np.isnan(x):
        return NAN
    share = min(1.0, abs(x) / (reach or 1.0))
    ends = zip(ZERO, LOW if x < 0 else HIGH, strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in ends)


class HeatMap:
    """One matrix as cells, with a title and with names of rows and columns.

    A large matrix is reduced: a cell is the number of largest magnitude of a block. An axis that is
    reduced has no names.
    """

    def __init__(
        self,
        matrix: np.ndarray,
        reach: float,
        titles: Sequence[str],
        rows: Sequence[str] = (),
        columns: Sequence[str] = (),
    ) -> None:
        matrix = np.atleast_2d(matrix)
        self.cells = thumbnail(matrix)
        self.reach, self.titles = reach, titles
        self.rows, self.columns = (
            names if self.cells.shape[axis] == matrix.shape[axis] else ()
            for axis, names in enumerate((rows, columns))
        )  # fmt: skip
        self.numbered = max(matrix.shape) <= NUMBERED
        side = 36 if self.numbered else max(5, min(18, 420 // max(self.cells.shape)))
        self.wide = max(side, 14) if self.columns else side  # of a cell
        self.high = max(side, 14) if self.rows else side
        self.left = LABEL if self.rows else 0
        self.top = LINE * len(titles) + (LABEL if self.columns else 0) + 4
        widest = max((CHARACTER * len(title) for title in titles), default=0)
        self.width = max(self.left + self.wide * self.cells.shape[1], widest)
        self.height = self.top + self.high * self.cells.shape[0]

    def draw(self, x: float, y: float) -> str:
        """Return its elements, with the upper left corner at x, y."""
        parts = [
            text(x, y + LINE * n + 13, title, 13 if n == 0 else 11, bold=n == 0)
            for n, title in enumerate(self.titles)
        ]
        x, y = x + self.left, y + self.top
        for n, name in enumerate(self.rows):
            parts.append(text(x - 6, y + (n + 0.5) * self.high + 4, name, 11, "end"))
        for n, name in enumerate(self.columns):
            parts.append(text(x + (n + 0.5) * self.wide + 4, y - 6, name, 11, turned=True))
        for (row, column), number in np.ndenumerate(self.cells):
            left, top = x + column * self.wide, y + row * self.high
            parts.append(box(left, top, self.wide, self.high, colour(float(number), self.reach)))
            if self.numbered:
                ink = "#ffffff" if abs(float(number)) > 0.55 * self.reach else INK
                middle = left + self.wide / 2, top + self.high / 2 + 4
                parts.append(text(*middle, short(float(number)), 10, "middle", fill=ink))
        rows, columns = self.cells.shape
        return "".join(
            [*parts, box(x, y, columns * self.wide, rows * self.high, "none", "#d0d7de")]
        )


def short(x: float) -> str:
    """Return a number in at most 6 characters."""
    return shown if len(shown := f"{x:.2g}") <= 5 else f"{x:.0e}".replace("e-0", "e-")


def box(x: float, y: float, width: float, height: float, fill: str, stroke: str = "none") -> str:
    """Return a rectangle."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" '
        f'stroke="{stroke}"/>'
    )


def text(
    x: float,
    y: float,
    content: str,
    size: int = 11,
    anchor: str = "start",
    *,
    turned: bool = False,
    bold: bool = False,
    fill: str = INK,
) -> str:
    """Return a line of text; `turned` writes it upwards."""
    where = f'transform="translate({x:g} {y:g}) rotate(-90)"' if turned else f'x="{x:g}" y="{y:g}"'
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text {where} font-size="{size}" text-anchor="{anchor}" fill="{fill}"{weight}>'
        f"{escape(visible(content))}</text>"
    )


def svg(maps: Sequence[HeatMap], heading: Sequence[str] = (), before: int | None = None) -> str:
    """Return heat maps in a row as an SVG, below the lines of a heading.

    before: the number of the map that an arrow points to.
    """
    top: float = MARGIN + LINE * len(heading) + (LINE // 2 if heading else 0)
    x: float = MARGIN
    parts = [text(MARGIN, MARGIN + LINE * n + 12, line, 13) for n, line in enumerate(heading)]
    for n, heat_map in enumerate(maps):
        if n:
            if n == before:
                parts.append(text(x + GAP / 2, top + heat_map.top + 20, "→", 24, "middle"))
            x += GAP
        parts.append(heat_map.draw(x, top))
        x += heat_map.width
    width = max([x, *(MARGIN + CHARACTER * len(line) for line in heading)]) + MARGIN
    return _sheet(parts, width, top + max(heat_map.height for heat_map in maps) + MARGIN)


def _sheet(parts: Sequence[str], width: float, height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" font-family="system-ui, sans-serif">'
        f"{box(0, 0, width, height, '#ffffff')}{''.join(parts)}</svg>\n"
    )


# --- the arrays of a step ------------------------------------------------------------------------


def plane_of(value: Value, row: int, head: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the last two axes of an array at a row of the batch and a head, and the index of the
    axes before them; of an array that is not kept, its thumbnail.
    """
    if value.array is None:
        assert value.thumbnail is not None
        return value.thumbnail, ()
    letters = value.axes.ljust(len(value.shape), ".")
    chosen = tuple(
        min(head if letter == "H" else row if axis == 0 else 0, size - 1)
        for axis, (letter, size) in enumerate(zip(letters, value.shape[:-2], strict=False))
    )
    return np.atleast_2d(value.array[chosen]), chosen


def step_picture(
    trace: Trace,
    step: Step,
    tokens: Sequence[Sequence[str]] = (),
    row: int = 0,
    head: int = 0,
) -> str:
    """Return the arrays that a step got and made, as heat maps with shared colours.

    Args:
        trace, step: the record, and one of its steps.
        tokens: the tokens of each row of the batch, which name the axes T.
        row, head: of the batch and of the heads, for arrays that have them.
    """
    reach = step.reach
    maps = []
    for value in [*step.inputs, *step.outputs]:
        own = value.reach if value.parameter or value.reach > reach else reach
        matrix, chosen = plane_of(value, row, head)
        names = [tokens_of(value, axis, tokens, row) for axis in (-2, -1)]
        index = f"[{', '.join(map(str, chosen))}]" if any(n > 1 for n in value.shape[:-2]) else ""
        titles = [f"{value.name}{index}", shape_text(value), f"colours to ±{own:.3g}"]
        maps.append(HeatMap(matrix, own, titles, *names))
    formula = [line for line in trace.formula(step).splitlines() if line]
    heading = [f"step {step.number}, {step.phase}: {step.path}", *formula]
    return svg(maps, heading, len(step.inputs))


def tokens_of(value: Value, axis: int, tokens: Sequence[Sequence[str]], row: int) -> Sequence[str]:
    """Return the tokens along one of the last two axes of an array; () if it is none of tokens."""
    own = tokens[min(row, len(tokens) - 1)] if tokens else ()
    if len(value.shape) < -axis or len(value.axes) != len(value.shape):
        return ()
    return own if value.axes[axis] == "T" and value.shape[axis] == len(own) else ()


def value_picture(
    step: Step,
    value: Value,
    index: Sequence[int],
    rows: Sequence[str],
    columns: Sequence[str],
) -> str:
    """Return one array of a step as a heat map: its last two axes at the `index` of the others."""
    matrix = value.thumbnail if value.array is None else value.array[tuple(index)]
    assert matrix is not None
    at = f"[{', '.join(map(str, index))}]" if index else ""
    titles = [f"{value.name}{at}", shape_text(value), f"colours to ±{value.reach:.3g}"]
    heat_map = HeatMap(matrix, value.reach, titles, rows, columns)
    return svg([heat_map], [f"step {step.number}, {step.phase}: {step.path}"])


# --- gradients -----------------------------------------------------------------------------------

BAR = 240  # pixels of the longest


def gradients_picture(trace: Trace) -> str:
    """Return the norm of the first gradient that each backward step made, from the loss down.

    Raises ValueError for a record without a backward pass.
    """
    steps = [step for step in trace.backward if step.outputs]
    if not steps:
        raise ValueError("nothing was differentiated in this record")
    norms = [step.outputs[0].norm for step in steps]
    names = [f"{step.number} {step.path}: {step.outputs[0].name}" for step in steps]
    left = MARGIN + CHARACTER * max(map(len, names))
    parts = [text(MARGIN, MARGIN + 12, "Norms of the gradients, from the loss down", 13, bold=True)]
    for n, (name, norm) in enumerate(zip(names, norms, strict=True)):
        y, width = MARGIN + LINE * (n + 1.5), BAR * norm / (max(norms) or 1)
        parts.append(text(left - 8, y + 13, name, 11, "end"))
        parts.append(box(left, y + 3, width, LINE - 5, "#b04a00"))
        parts.append(text(left + width + 6, y + 13, f"{norm:.3g}", 11))
    return _sheet(parts, left + BAR + 80, 2 * MARGIN + LINE * (len(steps) + 2))


# --- the staircase -------------------------------------------------------------------------------


def staircase_picture(trace: Trace) -> str:
    """Return all forward steps with their results and gradients, as on the page."""
    sheet = (Path(__file__).parent / "html" / "view.css").read_text("utf-8")
    light = dict(re.findall(r"(--\w+): (#\w+)", sheet.split("}")[0]))
    rules = [line for line in sheet.splitlines() if line.startswith(".stairs")]
    style = re.sub(r"var\((--\w+)\)", lambda found: light[found[1]], "\n".join(rules))
    before, inside, after = staircase(trace, tree(trace)).partition("<defs>")
    back = f'<rect width="100%" height="100%" fill="{light["--back"]}"/>'
    return f"{before}<style>{style}</style>{back}{inside}{after}\n"
