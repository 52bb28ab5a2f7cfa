"""Draw attention weights: how much each new token attended to each earlier token."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinybert.cli.figures import hide_frame, plain_labels, stacked_axes
from tinybert.cli.terminal import shorten

MAX_TOKENS = 160  # columns; more could not be told apart
CELL = 0.22  # inches
TOKEN_WIDTH = 16  # characters of a label


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
        image = axes.imshow(weights, cmap="YlGnBu", vmin=0, aspect="equal", interpolation="none")
        axes.set_yticks(range(rows), [shorten(token, TOKEN_WIDTH) for token in new], fontsize=8)
        axes.set_xticks(
            range(columns), [shorten(token, TOKEN_WIDTH) for token in keys], fontsize=8, rotation=90
        )
        axes.set_ylabel("new token", fontsize=8)
        axes.set_xlabel("attended token", fontsize=8)
        if np.isnan(weights).any():
            axes.axvline(columns - rows + 0.5, color="0.4", linewidth=0.8)
        plain_labels(axes)
        hide_frame(axes)
        axes.set_title(
            "attention weights of the last layer, mean over heads",
            fontsize=9,
            loc="left",
            parse_math=False,
        )
        colour_bar = axes.figure.colorbar(image, ax=axes, pad=0.02, shrink=0.9)
        colour_bar.outline.set_visible(False)
        colour_bar.ax.tick_params(labelsize=8, length=0)
