"""A table of cosines as a picture, in a file that opens anywhere."""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.checkpoints import atomic_write
from tinybert.cli.terminal import one_line

ENDINGS = (".png", ".svg", ".pdf")
MOST_NUMBERS = 12  # texts up to which every cell shows its number
MOST_LABELS = 40  # texts up to which labels are texts; beyond, numbers
MOST_TEXTS = 400  # beyond, a cell would be smaller than a dot
LABEL_WIDTH = 32  # characters of a line of a label
# For texts that matplotlib's own font cannot show; those that are installed are used.
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


def check_plot(path: Path, count: int) -> None:
    """Refuse a picture that cannot be drawn or written before the work is done, not after."""
    if count > MOST_TEXTS:
        raise ValueError(f"--plot shows at most {MOST_TEXTS} texts, got {count}")
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"--plot must end in one of {', '.join(ENDINGS)}, got {str(path)!r}")
    if not path.parent.is_dir():
        raise ValueError(f"--plot: there is no folder {str(path.parent)!r}")


def save_heatmap(path: Path, texts: list[str], cosines: np.ndarray) -> None:
    """Draw `cosines` (N, N), N texts by N texts, and write the picture."""
    count = len(texts)
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.figure import Figure

    installed = {font.name for font in font_manager.fontManager.ttflist}
    fonts = [name for name in FONTS if name in installed]
    with matplotlib.rc_context({"font.family": fonts, "svg.fonttype": "path"}):
        side = float(np.clip(0.55 * count, 2.2, 12))  # inches of the square; labels come beside it
        # Not pyplot: a Figure of its own leaves no global state and needs no display.
        figure = Figure(figsize=(side + 1, side))
        axes = figure.add_subplot()
        image = axes.imshow(
            cosines,
            cmap="YlGnBu",
            vmin=min(0.0, float(cosines.min())),
            vmax=1,
            extent=(0.5, count + 0.5, count + 0.5, 0.5),
        )
        _label(axes, texts)
        if count <= MOST_NUMBERS:
            _write_numbers(axes, image, cosines)
        bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 3 / side), pad=0.02)
        bar.set_label("cosine similarity")
        bar.outline.set_visible(False)
        with warnings.catch_warnings(), atomic_write(path) as file:
            warnings.filterwarnings("ignore", "Glyph .* missing")  # an empty box says so too
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=150, bbox_inches="tight")


def _label(axes: Any, texts: list[str]) -> None:
    """Rows are named by their texts, columns by their numbers."""
    count = len(texts)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    for spine in axes.spines.values():
        spine.set_visible(False)
    if count > MOST_LABELS:
        axes.set_xlabel(f"{count} texts, numbered in the order given")
        return
    wrapped = [
        textwrap.fill(f"{number}  {one_line(text)}", LABEL_WIDTH, max_lines=2, placeholder=" …")
        for number, text in enumerate(texts, 1)
    ]
    small = 9 if count <= 20 else 7
    axes.set_yticks(range(1, count + 1), wrapped, fontsize=small)
    axes.set_xticks(range(1, count + 1), [str(i) for i in range(1, count + 1)], fontsize=small)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)  # a dollar sign is a dollar sign


def _write_numbers(axes: Any, image: Any, cosines: np.ndarray) -> None:
    """The number in every cell, in black or white, whichever has the greater contrast there."""
    for (row, column), cosine in np.ndenumerate(cosines):
        red, green, blue, _ = (channel**2.2 for channel in image.cmap(image.norm(cosine)))
        luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        colour = "black" if luminance > 0.18 else "white"  # equal contrast at 0.18 (WCAG)
        shown = f"{round(float(cosine), 2) + 0.0:.2f}"
        axes.text(column + 1, row + 1, shown, ha="center", va="center", color=colour, fontsize=9)
