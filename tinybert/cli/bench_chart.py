"""Draw the ratios of `tinybert bench`: a bar for each result, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinybert.bench import Result
from tinybert.cli.figures import COLOURS, hide_frame, new_figure

LESS, MORE = COLOURS[3], COLOURS[1]
TICKS = [digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 5)]


def save_ratios(path: Path, results: Sequence[Result], machine: str) -> None:
    """Draw our figure divided by that of the other library; to the left of 1 tinybert needs less.

    Each bar ends at the median of the rounds, and a line covers their range. A case has
    no bar if the two libraries computed different results.

    machine: processor, threads and version of torch, the title of the chart.
    """
    drawn = [result for result in results if result.agrees][::-1]
    with new_figure(path, 7.5, 1.2 + 0.27 * len(drawn), "constrained") as figure:
        axes = figure.subplots()
        for row, result in enumerate(drawn):
            ratios = [a / b for a, b in zip(result.ours, result.others, strict=True)]
            width = result.ratio - 1
            axes.barh(row, width, left=1, height=0.62, color=LESS if width < 0 else MORE)
            axes.hlines(row, min(ratios), max(ratios), color="black", linewidth=0.8)
            axes.annotate(
                f"{result.ratio:.2f}",
                (max(*ratios, 1), row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_yticks(range(len(drawn)), [f"{r.case}, {r.other}" for r in drawn], fontsize=8)
        ticks = [t for t in TICKS if _within(t, drawn)]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks], fontsize=8)
        axes.minorticks_off()
        axes.set_xlabel("ours / theirs: time, or peak memory (MB) of the memory cases", fontsize=8)
        axes.set_title(machine, fontsize=8, loc="left")
        hide_frame(axes, "top", "right", "left")


def _within(tick: float, results: Sequence[Result]) -> bool:
    """Return whether the axis reaches a tick; 1 always has one."""
    ratios = [result.ratio for result in results]
    return min([1, *ratios]) / 2 <= tick <= 2 * max([1, *ratios])
