"""The staircase: all forward steps as a picture, from the input at the bottom to the result.

Modules are nested boxes. A blue arrow carries a result up to each step that uses it, an orange
arrow its gradient down again. Short arrows connect neighbours; long ones, such as residual
connections, run in lanes on the right.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from tinybert.trace.flow import gradient_of, users
from tinybert.trace.steps import Step
from tinybert.trace.values import Value
from tinybert.trace.walk import Node

if TYPE_CHECKING:
    from tinybert.trace.trace import Trace

HEADS = (
    "<defs>"
    + "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="5" markerHeight="5" '
        f'orient="auto"><path class="head-{name}" d="M0 0L8 4L0 8z"/></marker>'
        for name in ("up", "down")
    )
    + "</defs>"
)
ROW, BOX, INDENT, WIDTH, LANE = 46, 24, 14, 310, 13  # pixels


def shape_text(value: Value) -> str:
    """Return a shape with its letters: "B 2 × T 16 × D 384"."""
    letters = value.axes if len(value.axes) == len(value.shape) else "." * len(value.shape)
    parts = (f"{a} {n}" if a != "." else str(n) for a, n in zip(letters, value.shape, strict=True))
    return " × ".join(parts) or "scalar"


def lanes(spans: list[tuple[int, int]]) -> list[int]:
    """Return a lane for each span (from, to), so that spans in one lane do not meet."""
    ends: list[int] = []
    chosen = [0] * len(spans)
    for index in sorted(range(len(spans)), key=lambda i: spans[i]):
        start, end = spans[index]
        lane = next((n for n, last in enumerate(ends) if last <= start), len(ends))
        ends[lane : lane + 1] = [end]
        chosen[index] = lane
    return chosen


def staircase(trace: Trace, root: Node) -> str:
    """Return an SVG of the forward steps; a box has its step's number as `data-step`."""
    steps = trace.forward
    rows = {step.number: row for row, step in enumerate(steps)}
    depth = max((leaf.depth for leaf in root.leaves()), default=1)
    right = INDENT * depth + WIDTH
    parts = [
        *_modules(root, rows, right),
        *(_box(step, _y(rows, step, steps), right) for step in steps),
    ]
    long: list[tuple[Step, Step, Value]] = []
    for (number, output), uses in users(trace).items():
        if number not in rows:
            continue
        start, labelled = trace[number], 0
        for step, value in uses:
            if rows[step.number] == rows[number] + 1:
                parts.append(_short(trace, start, step, value, rows, labelled))
                labelled += 1
            else:
                long.append((start, step, value))
        if not labelled:
            text = shape_text(start.outputs[output])
            y = _y(rows, start, steps) - 8
            parts.append(
                f'<text class="shape" x="{INDENT * _depth(start) + 26}" y="{y}">{text}</text>'
            )
    chosen = lanes([(rows[a.number], rows[b.number]) for a, b, _ in long])
    for lane, (start, step, value) in zip(chosen, long, strict=True):
        parts.append(_long(trace, start, step, value, rows, right, lane))
    width = right + 40 + LANE * (max(chosen, default=0) + 1)
    height = ROW * len(steps) + 30
    return (
        f'<svg class="stairs" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'xmlns="http://www.w3.org/2000/svg" role="img" aria-label="The forward steps, from the '
        f'input at the bottom to the result at the top">{HEADS}{"".join(parts)}</svg>'
    )


def _depth(step: Step) -> int:
    return step.module.count(".") + 1 if step.module else 0


def _y(rows: dict[int, int], step: Step, steps: list[Step]) -> int:
    return ROW * (len(steps) - 1 - rows[step.number]) + 24


def _end(step: Step, right: int) -> int:
    """Return where the box of a step ends, inside of those of its modules."""
    return right - INDENT * max(_depth(step) - 1, 0) - 8


def _box(step: Step, y: int, right: int) -> str:
    x = INDENT * _depth(step)
    inside = step.module.rpartition(".")[2]
    width = _end(step, right) - x
    name = escape(f"{step.operation} ({inside})" if inside else step.operation)
    return (
        f'<g class="op" data-step="{step.number}"><rect x="{x}" y="{y}" width="{width}" '
        f'height="{BOX}" rx="5"/><text x="{x + 8}" y="{y + 16}">{step.number} {name}</text>'
        f"<title>{escape(step.path)}</title></g>"
    )


def _modules(node: Node, rows: dict[int, int], right: int) -> list[str]:
    """Return the boxes of the modules inside of a node, outer ones first."""
    parts: list[str] = []
    for child in node.children:
        if child.is_step or child.steps[0].number not in rows:
            continue
        level = child.depth - 2  # below the root and "forward"
        if level >= 0:
            top = ROW * (len(rows) - 1 - rows[child.steps[-1].number]) + 6 + 2 * level
            height = ROW * len(child.steps) + 6 - 3 * level
            x, width = INDENT * level + 2, right - 2 * INDENT * level - 4
            parts.append(
                f'<g class="module"><rect x="{x}" y="{top}" width="{max(width, 60)}" '
                f'height="{height}" rx="7"/>'
            )
            if len(child.steps) > 2:  # along its left edge
                place = f"{x + 10} {top + height / 2}"
                parts.append(
                    f'<text text-anchor="middle" transform="translate({place}) rotate(-90)">'
                    f"{escape(child.name)}</text>"
                )
            parts.append("</g>")
        parts += _modules(child, rows, right)
    return parts


def _short(
    trace: Trace, start: Step, step: Step, value: Value, rows: dict[int, int], before: int
) -> str:
    """Return the arrows to the next step, with shape and norm; `before` have been drawn there."""
    x = INDENT * max(_depth(start), _depth(step)) + 16
    below = ROW * (len(rows) - 1 - rows[start.number]) + 24
    above = below - ROW + BOX
    parts = f'<path class="up" d="M{x} {below}V{above + 3}"/>'
    share = gradient_of(trace, step, value)
    if share is not None:
        norm = f"‖{share.value.name}‖ = {share.value.norm:.3g}"
        left = x + 26 + 5.4 * len(shape_text(value))
        parts += (
            f'<path class="down" d="M{x + 6} {above}V{below - 3}"><title>{norm}</title></path>'
            f'<text class="norm" x="{left + 95 * before:g}" y="{below - 8}">'
            f"{norm}</text>"
        )
    return parts + f'<text class="shape" x="{x + 12}" y="{below - 8}">{shape_text(value)}</text>'


def _long(
    trace: Trace, start: Step, step: Step, value: Value, rows: dict[int, int], right: int, lane: int
) -> str:
    x = right + 18 + LANE * lane
    low = ROW * (len(rows) - 1 - rows[start.number]) + 32
    high = ROW * (len(rows) - 1 - rows[step.number]) + 40
    a, b = (_end(s, right) for s in (start, step))
    title = f"{shape_text(value)}: step {start.number} to {value.name} of step {step.number}"
    parts = f'<path class="up" d="M{a} {low}H{x}V{high}H{b + 3}"><title>{title}</title></path>'
    share = gradient_of(trace, step, value)
    if share is not None:
        title = f"‖{share.value.name}‖ = {share.value.norm:.3g}, from step {share.step.number}"
        parts += (
            f'<path class="down" d="M{b} {high + 4}H{x + 4}V{low + 4}H{a + 3}">'
            f"<title>{title}</title></path>"
        )
    return parts
