"""A report of a check as lines of a terminal."""

from __future__ import annotations

from tinybert.columns import clip, columns_of, wrap
from tinybert.learn.grader import Report
from tinybert.trace.terminal.look import Line, Look

STAGES = {
    "shape": "shape",
    "dtype": "dtype",
    "values": "values",
    "gradient": "gradients",
    "edges": "edge cases",
    "unchanged": "arguments unchanged",
    "model": "in a real model",
}
FAILURES = {"runs": "it does not run", "ends": "it does not end"}
GOOD, BAD = "32", "31"
PRINTED_LINES = 12
INDENT = 6


def report_lines(report: Report, width: int, look: Look) -> list[Line]:
    """Return what a check found: the stages, then what is wrong, the mistake and what was printed.

    Args:
        report: of a check.
        width: of the terminal; longer lines are wrapped, lines of code are cut.
        look: which characters it has.
    """
    good, bad = ("✓", "✗") if look.blocks else ("+", "x")
    lines: list[Line] = []
    for stage, count in report.passed.items():
        cases = f"{count} case{'s' * (count != 1)}"
        lines.append([(f"  {good} ", GOOD), (f"{STAGES[stage]}: {cases}", "")])
    if report.stage is not None:
        lines.append([(f"  {bad} ", BAD), (clip(_failure(report), width - 4), "bold")])
        if report.call:
            lines += _wrapped(report.call, width, "")
        lines += _what(report, width)
        if report.where:
            lines.append([(" " * INDENT + clip(f"your {report.where}", width - INDENT), "dim")])
    if report.mistake is not None:
        name, explanation = report.mistake
        said = "This looks like" if report.stage == "ends" else "Your output equals"
        lines += _wrapped(f'{said} a known mistake, "{name}": {explanation}', width, "bold")
    return lines + _printed(report.printed, width)


def _failure(report: Report) -> str:
    assert report.stage is not None
    return FAILURES.get(report.stage) or STAGES[report.stage]


def _what(report: Report, width: int) -> list[Line]:
    """Return what is wrong; a syntax error has its line of code and a mark below it."""
    if report.stage == "runs" and len(report.lines) > 1:
        first, *code = report.lines
        shown = [" " * INDENT + clip(line, width - INDENT) for line in code]
        return _wrapped(first, width, BAD) + [[(line, "")] for line in shown]
    return [line for text in report.lines for line in _wrapped(text, width, BAD)]


def _wrapped(text: str, width: int, style: str) -> list[Line]:
    room = width - INDENT
    rows = [text] if columns_of(text) <= room else wrap(text.split(), room)
    return [[(" " * INDENT + row, style)] for row in rows]


def _printed(text: str, width: int) -> list[Line]:
    if not text:
        return []
    rows = text.splitlines()
    lines: list[Line] = [[("Your code printed:", "bold")]]
    lines += [[("    " + clip(row, width - 4), "")] for row in rows[:PRINTED_LINES]]
    if len(rows) > PRINTED_LINES:
        rest = rows[-1] if rows[-1].endswith("more bytes") else ""
        lines.append([(f"    {rest or f'... and {len(rows) - PRINTED_LINES} more lines'}", "dim")])
    return lines


def draw(lines: list[Line], width: int, look: Look) -> str:
    """Return lines as text that ends with a line end."""
    return "".join(look.draw(line, width).rstrip() + "\n" for line in lines)
