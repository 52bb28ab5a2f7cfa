"""Draw attention weights: how much each token attends to each other token."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.cli.figures import hide_frame, new_figure, plain_labels, stacked_axes
from tinybert.cli.terminal import shorten

MAX_TOKENS = 160  # columns; more could not be told apart
CELL = 0.22  # inches
TOKEN_WIDTH = 16  # characters of a label
MAP_SIZE = 1.1  # inches of one of many maps
PANEL_SIZE = 3.4  # inches of one of some maps, with tokens
MAX_LABELS = 24  # tokens; with more, only a single map has labels
NUMBERED = 14  # tokens; with more, cells have no numbers
COLOURS_OF_WEIGHTS: dict[str, Any] = {
    "cmap": "YlGnBu", "vmin": 0, "aspect": "equal", "interpolation": "none",
}  # fmt: skip


def check_tokens(count: int) -> None:
    """Raise ValueError for too many tokens."""
    if count > MAX_TOKENS:
        raise ValueError(
            f"--plot shows at most {MAX_TOKENS} tokens, got {count} (prompt and --max-new-tokens)"
        )


def save_attention(path: Path, weights: np.ndarray, new: list[str], keys: list[str]) -> None:
    """Draw the attention weights (N, T) of N new tokens to T keys, and save the figure.

    Weights that do not exist are NaN. A line separates the prompt from the new tokens.
    """
    rows, columns = weights.shape
    width = max(columns * CELL + 1.6, 5.0)
    with stacked_axes(path, width, [max(rows * CELL + 1.2, 2.2)]) as (axes,):
        image = axes.imshow(weights, **COLOURS_OF_WEIGHTS)
        _label(axes, new, keys)
        axes.set_ylabel("new token", fontsize=8)
        axes.set_xlabel("attended token", fontsize=8)
        if np.isnan(weights).any():
            axes.axvline(columns - rows + 0.5, color="0.4", linewidth=0.8)
        axes.set_title(
            "attention weights of the last layer, mean over heads",
            fontsize=9,
            loc="left",
            parse_math=False,
        )
        _colour_bar(axes.figure, image, axes)


def save_heads(path: Path, maps: np.ndarray, names: list[str], tokens: list[str]) -> None:
    """Draw the attention weights (N, T, T) of N heads with names, and save the figure.

    One head is drawn large, with numbers if there are few tokens; of several, each has its tokens
    at the axes. Weights that do not exist are NaN.
    """
    count, size = len(maps), len(tokens)
    columns = min(count, 4)
    labelled = size <= MAX_LABELS or count == 1
    side = max(size * CELL * (1.6 if size <= NUMBERED else 1), 3.5) if count == 1 else PANEL_SIZE
    rows = math.ceil(count / columns)
    with new_figure(path, columns * side + 1, rows * side + 0.6, "constrained") as figure:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, name, weights in zip(grid, names, maps, strict=False):
            image = axes.imshow(weights, vmax=1, **COLOURS_OF_WEIGHTS)
            axes.set_title(name, fontsize=9, loc="left")
            _label(axes, *([tokens, tokens] if labelled else [[], []]))
        for axes in grid[count:]:
            axes.set_axis_off()
        if count == 1 and size <= NUMBERED:
            _write_numbers(grid[0], maps[0])
        _axis_names(figure)
        _colour_bar(figure, image, list(grid))


def save_all_heads(path: Path, maps: np.ndarray) -> None:
    """Draw the attention weights (L, H, T, T) of all heads of all layers as small multiples."""
    layers, heads, size, _ = maps.shape
    gap = max(1, size // 8)
    step = size + gap
    joined = np.full((layers * step - gap, heads * step - gap), np.nan)
    for layer, head in np.ndindex(layers, heads):
        joined[layer * step :, head * step :][:size, :size] = maps[layer, head]
    with new_figure(
        path, max(heads * MAP_SIZE + 1.6, 4), layers * MAP_SIZE + 0.9, "constrained"
    ) as figure:
        axes = figure.subplots()
        image = axes.imshow(joined, vmax=1, **COLOURS_OF_WEIGHTS)
        middle = (size - 1) / 2
        axes.set_yticks([n * step + middle for n in range(layers)], range(layers), fontsize=9)
        axes.set_xticks([n * step + middle for n in range(heads)], range(heads), fontsize=9)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel("head", fontsize=9)
        axes.set_ylabel("layer", fontsize=9)
        hide_frame(axes)
        figure.supxlabel(
            f"each square: {size} tokens, from top to bottom, attend to the same tokens, "
            "from left to right",
            fontsize=9,
        )
        _colour_bar(figure, image, axes)


def _label(axes: Any, queries: list[str], keys: list[str]) -> None:
    """Write tokens at the axes."""
    for ticks, tokens, rotation in ((axes.set_yticks, queries, 0), (axes.set_xticks, keys, 90)):
        names = [shorten(token, TOKEN_WIDTH) for token in tokens]
        ticks(range(len(names)), names, fontsize=8, rotation=rotation)
    plain_labels(axes)
    hide_frame(axes)


def _axis_names(figure: Any) -> None:
    figure.supylabel("token that attends", fontsize=9)
    figure.supxlabel("token attended to", fontsize=9)


def _write_numbers(axes: Any, weights: np.ndarray) -> None:
    for (row, column), weight in np.ndenumerate(weights):
        if weight >= 0.005:  # a smaller one would be shown as 0.00
            colour = "white" if weight > 0.55 else "black"
            shown = f"{weight:.2f}".removeprefix("0")
            axes.text(column, row, shown, ha="center", va="center", color=colour, fontsize=7)


def _colour_bar(figure: Any, image: Any, axes: Any) -> None:
    colour_bar = figure.colorbar(image, ax=axes, pad=0.02, shrink=0.9)
    colour_bar.outline.set_visible(False)
    colour_bar.ax.tick_params(labelsize=8, length=0)
    colour_bar.set_label("attention weight", fontsize=8)
