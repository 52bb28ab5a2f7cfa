"""Draw a matrix of cosine similarities as a heat map."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.cli.figures import hide_frame, new_figure, plain_labels
from tinybert.cli.terminal import one_line

MAX_TEXTS_WITH_NUMBERS = 12  # with more texts, cells have no numbers
MAX_TEXTS_WITH_LABELS = 40  # with more texts, rows have no labels
MAX_TEXTS = 400  # with more texts, a cell would be smaller than a pixel
LABEL_WIDTH = 32  # characters per line of a label


def check_heatmap(count: int) -> None:
    """Raise ValueError for too many texts."""
    if count > MAX_TEXTS:
        raise ValueError(f"--plot shows at most {MAX_TEXTS} texts, got {count}")


def save_heatmap(path: Path, texts: list[str], cosines: np.ndarray) -> None:
    """Draw the cosines (N, N) of N texts, and save the figure."""
    count = len(texts)
    side = float(np.clip(0.55 * count, 2.2, 12))  # inches of the square without labels
    with new_figure(path, side + 1, side) as figure:
        axes = figure.add_subplot()
        image = axes.imshow(
            cosines,
            cmap="YlGnBu",
            vmin=min(0.0, float(cosines.min())),
            vmax=1,
            extent=(0.5, count + 0.5, count + 0.5, 0.5),
        )
        _label(axes, texts)
        if count <= MAX_TEXTS_WITH_NUMBERS:
            _write_numbers(axes, image, cosines)
        colour_bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 3 / side), pad=0.02)
        colour_bar.set_label("cosine similarity")
        colour_bar.outline.set_visible(False)


def _label(axes: Any, texts: list[str]) -> None:
    """Label the rows with texts and the columns with numbers."""
    count = len(texts)
    hide_frame(axes)
    axes.xaxis.tick_top()
    if count > MAX_TEXTS_WITH_LABELS:
        axes.set_xlabel(f"{count} texts, numbered in the order given")
        return
    wrapped = [
        textwrap.fill(f"{number}  {one_line(text)}", LABEL_WIDTH, max_lines=2, placeholder=" …")
        for number, text in enumerate(texts, 1)
    ]
    font_size = 9 if count <= 20 else 7
    numbers = range(1, count + 1)
    axes.set_yticks(numbers, wrapped, fontsize=font_size)
    axes.set_xticks(numbers, [str(number) for number in numbers], fontsize=font_size)
    plain_labels(axes)


def _write_numbers(axes: Any, image: Any, cosines: np.ndarray) -> None:
    """Write the number into every cell, in black or white, whichever has more contrast."""
    for (row, column), cosine in np.ndenumerate(cosines):
        red, green, blue, _ = (channel**2.2 for channel in image.cmap(image.norm(cosine)))
        luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        colour = "black" if luminance > 0.18 else "white"  # equal contrast at 0.18 (WCAG)
        shown = f"{round(float(cosine), 2) + 0.0:.2f}"
        axes.text(column + 1, row + 1, shown, ha="center", va="center", color=colour, fontsize=9)
