"""A record as a table in a notebook."""

from __future__ import annotations

import html

from tinybert.trace.steps import Step

MOST_STEPS = 500  # rows
COLUMNS = ("step", "phase", "operation", "inputs", "outputs", "mean", "std", "min", "max", "called")


def html_table(steps: list[Step], title: str) -> str:
    """Return an HTML table with a row for each step: its arrays, and statistics of its result.

    The numbers are of the first output. A row with NaN or infinity says so.
    """
    lines = [
        f"<div><p>{html.escape(title)}</p>",
        '<table><thead><tr style="text-align: left">',
        *(f'<th scope="col">{name}</th>' for name in COLUMNS),
        "</tr></thead><tbody>",
    ]
    for step in steps[:MOST_STEPS]:
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(step))
        lines.append(f'<tr style="text-align: left"><th scope="row">{step.number}</th>{cells}</tr>')
    lines.append("</tbody></table>")
    if len(steps) > MOST_STEPS:
        lines.append(f"<p>... and {len(steps) - MOST_STEPS} more steps</p>")
    return "\n".join([*lines, "</div>"])


def _cells(step: Step) -> list[str]:
    numbers = ["", "", "", ""]
    if step.outputs:
        found = step.outputs[0].statistics
        numbers = [f"{x:.4g}" for x in (found.mean, found.std, found.min, found.max)]
        if found.nan or found.inf:
            numbers[0] += f" (NaN {found.nan}, infinite {found.inf})"
    flow = [
        ", ".join(f"{v.name} {'x'.join(map(str, v.shape)) or 'scalar'}" for v in values)
        for values in (step.inputs, step.outputs)
    ]
    return [step.phase, step.path, *flow, *numbers, step.place]
