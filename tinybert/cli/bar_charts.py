"""Scores as bars, in a picture that opens anywhere."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tinybert.checkpoints import atomic_write
from tinybert.cli.heatmap import FONTS
from tinybert.cli.terminal import one_line, shorten

MOST_PANELS = 12  # more would be too many for a page
TITLE_WIDTH = 64  # characters of a line of a title
COLOURS = ("#2a6f97", "#e07a5f")
NAME_WIDTH = 28  # characters of the name of a bar


class Panel(NamedTuple):
    """One chart: a title, and (name, score) for each bar from the top."""

    title: str
    bars: list[tuple[str, float]]


def check_panels(count: int) -> None:
    """Refuse a picture with too many charts."""
    if count > MOST_PANELS:
        raise ValueError(f"--plot shows at most {MOST_PANELS} charts, got {count}")


def save_bars(path: Path, panels: list[Panel], label: str) -> None:
    """Draw one chart of horizontal bars beneath the other, and write the picture.

    label: what the scores are.
    """
    heights = [0.32 * len(panel.bars) + 0.9 for panel in panels]  # inches
    scores = [score for panel in panels for _, score in panel.bars]
    limits = min(0.0, *scores) * 1.15, max(0.0, *scores) * 1.15 or 1.0
    with picture(path, 6.5, heights) as charts:
        for axes, panel in zip(charts, panels, strict=True):
            _draw_bars(axes, panel)
            axes.set_xlim(*limits)
        charts[-1].set_xlabel(label)


def _draw_bars(axes: Any, panel: Panel) -> None:
    places = range(len(panel.bars))
    scores = [score for _, score in panel.bars]
    names = [shorten(name, NAME_WIDTH) for name, _ in panel.bars]
    axes.barh(places, scores, color=COLOURS[0], height=0.7)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    for place, score in enumerate(scores):
        axes.annotate(f" {score:.3f}", (max(score, 0.0), place), va="center", fontsize=8)
    _title(axes, panel.title)


def save_spans(
    path: Path, title: str, tokens: list[str], start: list[float], end: list[float]
) -> None:
    """Draw for each of T tokens how likely the answer starts and ends there."""
    places = range(len(tokens))
    with picture(path, max(4.0, 0.34 * len(tokens) + 1.2), [3.2]) as (axes,):
        axes.bar([p - 0.2 for p in places], start, 0.4, color=COLOURS[0], label="starts here")
        axes.bar([p + 0.2 for p in places], end, 0.4, color=COLOURS[1], label="ends here")
        axes.set_xticks(places, tokens, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_xlim(-0.7, len(tokens) - 0.3)
        axes.set_ylabel("probability")
        axes.legend(frameon=False)
        _title(axes, title)


def _title(axes: Any, title: str) -> None:
    lines = textwrap.fill(one_line(title), TITLE_WIDTH, max_lines=2, placeholder=" …")
    axes.set_title(lines, fontsize=9, loc="left", parse_math=False)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_parse_math(False)  # a dollar sign is a dollar sign
    axes.tick_params(length=0, labelsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


@contextmanager
def picture(path: Path, width: float, heights: list[float]) -> Iterator[list[Any]]:
    """Axes beneath each other, of these inches; written to the file when all is drawn."""
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.figure import Figure

    installed = {font.name for font in font_manager.fontManager.ttflist}
    fonts = [name for name in FONTS if name in installed]
    with matplotlib.rc_context({"font.family": fonts, "svg.fonttype": "path"}):
        # Not pyplot: a Figure of its own leaves no global state and needs no display.
        figure = Figure(figsize=(width, sum(heights)), layout="constrained")
        grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
        yield [axes for (axes,) in grid]
        with warnings.catch_warnings(), atomic_write(path) as file:
            warnings.filterwarnings("ignore", "Glyph .* missing")  # an empty box says so too
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=150, bbox_inches="tight")
