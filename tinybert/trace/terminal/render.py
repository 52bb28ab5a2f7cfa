"""`render`: the screen of a session, as lines of text. It computes nothing and changes nothing."""

from __future__ import annotations

from itertools import zip_longest

from tinybert.columns import clip, columns_of, pad, wrap
from tinybert.trace.terminal import tensor
from tinybert.trace.terminal.look import Line, Look
from tinybert.trace.terminal.session import KEYS, PANES, Session
from tinybert.trace.values import Value
from tinybert.trace.walk import Node

WIDE, NARROW = 100, 60  # from WIDE columns on there are three panes, below NARROW a card
FORMULA_LINES = 6


def render(session: Session, width: int, height: int, look: Look) -> list[str]:
    """Return the `height` lines of a screen, each of `width` columns."""
    body = max(0, height - 3)
    lines: list[Line] = [_title(session, width)]
    if session.help:
        lines += _help()[:body]
    elif width >= WIDE:
        lines += _panes(session, width, body, look)
    else:
        lines += _narrow(session, width, body, look)
    lines = lines[: height - 2] if height > 2 else []
    lines += [[("", "")]] * (height - 2 - len(lines))
    shown = [*lines, _message(session, width), _keys(session, width)][-height:] if height else []
    return [look.draw(line, width) for line in shown]


def shape(value: Value) -> str:
    """Return a shape, "2x7x384", or "scalar"."""
    return "x".join(map(str, value.shape)) or "scalar"


def _title(session: Session, width: int) -> Line:
    step, node, total = session.step, session.walk.node, len(session.walk.trace)
    last = node.steps[-1].number
    place = f"step {step.number}" + (f" to {last}" if last != step.number else "")
    place = f"{place} of 0-{total - 1} "
    name = f"{step.phase} "
    rest = clip(session.run.title, max(0, width - len(place) - len(name)))
    return [(name, step.phase), (place, "bold"), (rest, "dim")]


def _message(session: Session, width: int) -> Line:
    if not session.prompt:
        return [(session.message, "message")]
    start = f"{session.prompt}: "
    text = session.typed
    while text and columns_of(text) > width - len(start) - 1:
        text = text[1:]
    line = [(start, "bold"), (text, ""), (" ", "cursor")]
    if session.prompt == "jump" and session.typed:
        found = session.walk.matches(session.typed, session.step.phase)
        line.append((f"  {len(found)} found" + (f": {found[0].dotted}" if found else ""), "dim"))
    return line


def _keys(session: Session, width: int) -> Line:
    if session.prompt:
        return [("Enter goes there, Esc goes back", "dim")]
    shown = ["? help", "q quit"]
    for key, word, _ in KEYS:
        more = [*shown[:-2], f"{key} {word}", *shown[-2:]]
        if word not in ("help", "quit") and len("  ".join(more)) <= width:
            shown = more
    return [("  ".join(shown), "dim")]


def _help() -> list[Line]:
    return [[("", "")], *([(pad(f"  {key}", 10), "bold"), (text, "")] for key, _, text in KEYS)]


def _panes(session: Session, width: int, height: int, look: Look) -> list[Line]:
    left = min(44, width * 3 // 10)
    tree = _tree(session, height)[:height]
    others = _stack(session, width - left - 3, height, look)[:height]
    none: Line = []
    rows = zip_longest(tree, others, fillvalue=none)
    return [[*_within(first, left), (" │ ", "dim"), *second] for first, second in rows]


def _within(line: Line, width: int) -> list[tuple[str, str]]:
    """Return a line of exactly `width` columns."""
    cut, left = [], width
    for text, style in line:
        text = clip(text, left)
        left -= columns_of(text)
        cut.append((text, style))
    return [*cut, (" " * left, "")]


def _narrow(session: Session, width: int, height: int, look: Look) -> list[Line]:
    lines: list[Line] = []
    if width >= NARROW:
        names = [
            (f"[{pane}]", "bold") if pane == session.pane else (f" {pane} ", "dim")
            for pane in PANES
        ]
        lines = [[*names, ("  tab: next pane", "dim")]]
    height -= len(lines)
    if session.pane == "tree":
        return lines + _tree(session, height)
    if session.pane == "tensor":
        return lines + _tensor(session, width, height, look)
    return lines + _stack(session, width, height, look)


def _tree(session: Session, height: int) -> list[Line]:
    """Return the nodes around the place, open along its path."""
    here = session.walk.node
    opened = {id(session.walk.root), *(id(node) for node in here.path())}
    rows: list[tuple[Node, int]] = []
    pending = [(child, 0) for child in reversed(session.walk.root.children)]
    while pending:
        node, depth = pending.pop()
        rows.append((node, depth))
        if id(node) in opened:
            pending += [(child, depth + 1) for child in reversed(node.children)]
    place = next(n for n, (node, _) in enumerate(rows) if node is here)
    lines: list[Line] = []
    for n in tensor.around(place, len(rows), height):
        node, depth = rows[n]
        mark = "▶" if n == place else " "
        kind = " " if node.is_step else "▾" if id(node) in opened else "▸"
        numbers = f" {node.steps[0].number}" if node.is_step else f" {_steps(node)}"
        style = "cursor" if n == place else node.name if depth == 0 else ""
        lines.append([(f"{mark}{' ' * depth}{kind} ", ""), (node.name, style), (numbers, "dim")])
    return lines


def _steps(node: Node) -> str:
    return f"{len(node.steps)} step{'s' * (len(node.steps) != 1)}"


def _stack(session: Session, width: int, height: int, look: Look) -> list[Line]:
    """Return the step, and below it the chosen tensor."""
    step = _step(session, width)
    if height - len(step) < 5:  # the numbers matter most
        step = step[: max(0, height - 5)]
    return [*step, [("", "")], *_tensor(session, width, height - len(step) - 1, look)]


def _step(session: Session, width: int) -> list[Line]:
    step, node = session.step, session.walk.node
    lines: list[Line] = []
    if node.is_step:
        lines.append([(step.operation, step.phase), (f"  {step.module}", "")])
        formula = session.walk.trace.formula(step).splitlines()
        rows = [row for text in formula for row in wrap(text.split(), width - 2)]
        lines += [[("  " + row, "bold")] for row in rows[:FORMULA_LINES]]
        if step.place:
            lines.append([(f"  {step.place}: {step.code}", "dim")])
    else:
        lines.append([(node.name, step.phase), (f"  {node.dotted}", "")])
        lines.append([(f"  {_steps(node)}; what enters and what leaves:", "dim")])
    for n, value in enumerate(session.values):
        lines.append(_value(session, value, n == session.chosen))
    if node.is_step and step.options:
        options = ", ".join(f"{name}={value}" for name, value in step.options.items())
        lines.append([(f"  options: {options}", "dim")])
    return lines


def _value(session: Session, value: Value, chosen: bool) -> Line:
    outputs = session.walk.node.steps[-1].outputs
    role = "saved" if value in session.step.saved else "out" if value in outputs else "in"
    origin = value.parameter or (f"of step {value.source[0]}" if value.source else "")
    axes = f"  {' '.join(value.axes)}" if value.axes.strip(".") else ""
    return [
        (f"{'▶' if chosen else ' '} {role:5} ", "dim"),
        (value.name, "cursor" if chosen else "bold"),
        (f"  {shape(value)}{axes}  {value.dtype}", ""),
        (f"  {origin}", "dim"),
    ]


def _tensor(session: Session, width: int, height: int, look: Look) -> list[Line]:
    lines = tensor.describe(session)
    if session.worked:
        rows = [row for text in session.worked_lines() for row in wrap(text.split(), width)]
        lines += [[(row, "message")] for row in rows]
    lines = lines[: max(0, height)]
    return lines + tensor.draw(session, width, height - len(lines), look)
