"""The result of `compare`: a `Comparison` with one `Row` per call, printed as a table."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

WIDTH = 100  # columns of the printed table


@dataclass
class Row:
    """The outputs of one call, ours and torch's.

    Attributes:
        order: the number of the call, in the order in which our modules finish. Submodules finish
            first: the first row that differs is the innermost module with a bug.
        name, kind, shape: the module's name, our class, the shape of our output.
        max_abs: max |a - b|.
        max_rel: max |a - b| / max |b|.
        rms_rel: RMS(a - b) / RMS(b). All three use the elements that are finite in both, and are
            None if the outputs cannot be compared.
        float64_rel: max_rel of the run in float64, if there was one.
        verdict: "ok"; "differs"; "shape"; "NaN" or "inf" with "ours", "torch" or "both"; "-" if
            there is nothing to compare. A run in float64 replaces "differs" by "bug" (float64
            differs too), "noise" (float64 agrees) or "unclear" (a small difference remains).
    """

    order: int
    name: str
    kind: str
    shape: tuple[int, ...]
    max_abs: float | None
    max_rel: float | None
    rms_rel: float | None
    verdict: str
    float64_rel: float | None = None

    @property
    def diverges(self) -> bool:
        """Whether the two models disagree in this call."""
        return self.verdict not in ("ok", "noise", "-")


@dataclass
class WeightDifference:
    """A parameter or buffer that both models have with different values or shapes."""

    name: str
    ours: tuple[int, ...]
    torch: tuple[int, ...]
    max_abs: float | None  # None if the shapes differ


@dataclass
class Comparison:
    """The result of `compare`; `print` shows a table.

    Attributes:
        rows: every call of every module with the same name in both models, then the outputs.
        weights: parameters and buffers that differ.
        only_ours, only_torch: names of modules and outputs that only one model has.
        uncalled: modules that were called different numbers of times, with the two counts.
        float64: whether there was a run in float64.
    """

    rows: list[Row]
    weights: list[WeightDifference]
    only_ours: list[str] = field(default_factory=list)
    only_torch: list[str] = field(default_factory=list)
    uncalled: list[str] = field(default_factory=list)
    float64: bool = False

    @property
    def first_divergence(self) -> Row | None:
        """The first row in which the models disagree."""
        return next((row for row in self.rows if row.diverges), None)

    @property
    def ok(self) -> bool:
        """Whether all outputs and all weights agree, and something was compared."""
        compared = any(row.verdict != "-" for row in self.rows)
        return compared and self.first_divergence is None and not self.weights

    def to_json(self) -> str:
        """Return the comparison as JSON; NaN and infinity become null."""
        first = self.first_divergence
        content = {"ok": self.ok, "first_divergence": first and first.name, **asdict(self)}
        return json.dumps(_without_nan(content), indent=2, allow_nan=False)

    def __str__(self) -> str:
        return "\n".join([*_table(self.rows, self.float64), "", *_summary(self)])


def _table(rows: list[Row], float64: bool) -> list[str]:
    """Return the rows in aligned columns, with an arrow at the first that diverges."""
    first = next((row for row in rows if row.diverges), None)
    numeric = ["max abs", "max rel", "float64"] if float64 else ["max abs", "max rel"]
    heads = ["#", "module", "class", "shape", *numeric, "verdict"]
    lines = [heads, *(_cells(row, float64) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    room = WIDTH - 2 - (len(heads) - 1) - sum(widths) + widths[1] + widths[2]
    widths[2] = min(widths[2], max(len("class"), room // 3))
    widths[1] = min(widths[1], room - widths[2])
    shown = []
    for row, line in zip((None, *rows), lines, strict=True):
        cells = [
            cell.rjust(width) if head in ("#", *numeric) else _shorten(cell, width).ljust(width)
            for head, cell, width in zip(heads, line, widths, strict=True)
        ]
        mark = "> " if row is not None and row is first else "  "
        shown.append((mark + " ".join(cells)).rstrip())
    return shown


def _cells(row: Row, float64: bool) -> list[str]:
    """Return the cells of one row."""
    numbers = [row.max_abs, row.max_rel] + ([row.float64_rel] if float64 else [])
    shown = ["-" if number is None else f"{number:.1e}" for number in numbers]
    return [str(row.order), row.name, row.kind, "x".join(map(str, row.shape)), *shown, row.verdict]


def _shorten(text: str, width: int) -> str:
    """Shorten a long name to its end, which matters most in a dotted name."""
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]


def _summary(comparison: Comparison) -> list[str]:
    """Explain the table in sentences."""
    first, weights = comparison.first_divergence, comparison.weights
    lines = []
    if first is None:
        compared = sum(row.verdict != "-" for row in comparison.rows)
        lines.append(f"All {compared} outputs agree.")
    else:
        what = first.verdict.split()[0]
        title = f"First {what}" if what in ("NaN", "inf") else "First divergence"
        lines.append(f"{title}: {first.name} ({first.kind}), {first.verdict}.")
        prefix = first.name.split(" ")[0] + "."
        in_module = [w.name for w in weights if w.name.startswith(prefix)]
        if in_module:
            shown = ", ".join(in_module[:3])
            lines.append(f"Its weights differ ({shown}): check the loading of weights first.")
        elif weights:
            lines.append("Other weights differ, see below: check the loading of weights first.")
        else:
            lines.append("All common weights are equal: check the computation.")
        if first.verdict == "differs":
            lines.append("Use float64=True to distinguish a bug from rounding.")
    for w in weights[:20]:
        how = f"max abs {w.max_abs:.1e}" if w.max_abs is not None else f"{w.ours} / {w.torch}"
        lines.append(f"Weight differs: {w.name}, {how}")
    if len(weights) > 20:
        lines.append(f"... and {len(weights) - 20} more weights")
    for title, names in (
        ("Only in ours", comparison.only_ours),
        ("Only in torch", comparison.only_torch),
        ("Calls, ours / torch", comparison.uncalled),
    ):
        lines += [f"{title}: {name}" for name in _folded(names)]
    return lines


def _folded(names: list[str]) -> list[str]:
    """Merge names that differ only in layer numbers, and count them."""
    counts = Counter(re.sub(r"(?<![^.])\d+(?=\.)", "*", name) for name in names)
    return [name if count == 1 else f"{name} ({count} times)" for name, count in counts.items()]


def _without_nan(value: Any) -> Any:
    """Replace NaN and infinity by None, which JSON lacks."""
    if isinstance(value, dict):
        return {key: _without_nan(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
