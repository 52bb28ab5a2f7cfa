"""Draw scores as bar charts."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from tinybert.cli.figures import COLOURS, hide_frame, plain_labels, stacked_axes
from tinybert.cli.terminal import one_line, shorten

MAX_CHARTS = 12  # charts in one figure
TITLE_WIDTH = 64  # characters per line of a title
NAME_WIDTH = 28  # characters of the name of a bar


class BarChart(NamedTuple):
    """One chart: a title, and (name, score) for each bar from top to bottom."""

    title: str
    bars: list[tuple[str, float]]


def check_charts(count: int) -> None:
    """Raise ValueError for too many charts."""
    if count > MAX_CHARTS:
        raise ValueError(f"--plot shows at most {MAX_CHARTS} charts, got {count}")


def save_bar_charts(path: Path, charts: list[BarChart], label: str) -> None:
    """Draw charts of horizontal bars below each other, and save the figure.

    label: the meaning of the scores.
    """
    heights = [0.32 * len(chart.bars) + 0.9 for chart in charts]  # inches
    scores = [score for chart in charts for _, score in chart.bars]
    limits = min(0.0, *scores) * 1.15, max(0.0, *scores) * 1.15 or 1.0
    with stacked_axes(path, 6.5, heights) as all_axes:
        for axes, chart in zip(all_axes, charts, strict=True):
            _draw_bars(axes, chart)
            axes.set_xlim(*limits)
        all_axes[-1].set_xlabel(label)


def _draw_bars(axes: Any, chart: BarChart) -> None:
    positions = range(len(chart.bars))
    scores = [score for _, score in chart.bars]
    names = [shorten(name, NAME_WIDTH) for name, _ in chart.bars]
    axes.barh(positions, scores, color=COLOURS[0], height=0.7)
    axes.set_yticks(positions, names)
    axes.invert_yaxis()
    for position, score in enumerate(scores):
        axes.annotate(f" {score:.3f}", (max(score, 0.0), position), va="center", fontsize=8)
    _title(axes, chart.title)


def save_answer_chart(
    path: Path, title: str, tokens: list[str], start: list[float], end: list[float]
) -> None:
    """Draw for each of T tokens the probabilities that the answer starts and ends there."""
    positions = range(len(tokens))
    with stacked_axes(path, max(4.0, 0.34 * len(tokens) + 1.2), [3.2]) as (axes,):
        axes.bar([p - 0.2 for p in positions], start, 0.4, color=COLOURS[0], label="start")
        axes.bar([p + 0.2 for p in positions], end, 0.4, color=COLOURS[1], label="end")
        axes.set_xticks(positions, tokens, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_xlim(-0.7, len(tokens) - 0.3)
        axes.set_ylabel("probability")
        axes.figure.legend(frameon=False, loc="outside upper right", ncols=2, fontsize=9)
        _title(axes, title)


def _title(axes: Any, title: str) -> None:
    lines = textwrap.fill(one_line(title), TITLE_WIDTH, max_lines=2, placeholder=" …")
    axes.set_title(lines, fontsize=9, loc="left", parse_math=False)
    plain_labels(axes)
    axes.tick_params(labelsize=9)
    hide_frame(axes, "top", "right", "left")
