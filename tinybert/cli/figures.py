"""What all figures share: fonts, saving to a file, and axes without decoration (matplotlib)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinybert.cli.command import check_output_file, optional
from tinybert.weights import atomic_write

SUFFIXES = (".png", ".svg", ".pdf")
COLOURS = ("#2a6f97", "#e07a5f", "#3d405b", "#81b29a")
# Fonts for characters that matplotlib's default font lacks; only installed fonts are used.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "WenQuanYi Zen Hei",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Emoji",
)


def figure_path(
    flag: str, name: str | None, suffixes: Sequence[str] = SUFFIXES, drawn: bool = True
) -> Path | None:
    """Return the path of a figure, or None if the flag is not given.

    drawn: whether matplotlib draws it. Raises ImportError without matplotlib, and ValueError if the
    file cannot be written.
    """
    if name is None:
        return None
    if drawn:
        optional("matplotlib", "plot", flag)
    check_output_file(flag, Path(name), suffixes)
    return Path(name)


@contextmanager
def new_figure(path: Path, width: float, height: float, layout: Any = None) -> Iterator[Any]:
    """Yield a matplotlib Figure of this size in inches; save it to the file at the end."""
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.figure import Figure

    installed = {font.name for font in font_manager.fontManager.ttflist}
    fonts = [name for name in FONTS if name in installed]
    with matplotlib.rc_context({"font.family": fonts, "svg.fonttype": "none"}):
        # Without pyplot there is no global state, and no display is needed.
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure
        with warnings.catch_warnings(), atomic_write(path) as file:
            warnings.filterwarnings("ignore", "Glyph .* missing")  # drawn as an empty box
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=150, bbox_inches="tight")


@contextmanager
def stacked_axes(path: Path, width: float, heights: list[float]) -> Iterator[list[Any]]:
    """Yield axes below each other, of these heights in inches; save the figure at the end."""
    with new_figure(path, width, sum(heights), "constrained") as figure:
        grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
        yield [axes for (axes,) in grid]


def plain_labels(axes: Any) -> None:
    """Show a dollar sign in tick labels as it is, not as the beginning of a formula."""
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_parse_math(False)


def hide_frame(axes: Any, *sides: str) -> None:
    """Hide the tick marks and the lines around the axes, or those on the given sides."""
    axes.tick_params(length=0)
    for side, spine in axes.spines.items():
        if side in sides or not sides:
            spine.set_visible(False)
