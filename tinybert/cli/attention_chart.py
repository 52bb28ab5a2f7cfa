"""Attention as a picture: which tokens were looked at for each new one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinybert.cli.bar_charts import picture
from tinybert.cli.terminal import shorten

MOST_TOKENS = 160  # columns; more could not be told apart
CELL = 0.22  # inches
TOKEN_WIDTH = 16  # characters of a label


def check_tokens(count: int) -> None:
    """Refuse a picture with too many tokens."""
    if count > MOST_TOKENS:
        raise ValueError(
            f"--plot shows at most {MOST_TOKENS} tokens, got {count} (prompt and --max-new-tokens)"
        )


def save_attention(path: Path, weights: np.ndarray, new: list[str], seen: list[str]) -> None:
    """Draw weights (N, T), NaN where there is none: N new tokens that T others were looked at for.

    A line separates the prompt from those that were new themselves.
    """
    rows, columns = weights.shape
    width = max(columns * CELL + 1.6, 5.0)
    with picture(path, width, [max(rows * CELL + 1.2, 2.2)]) as (axes,):
        image = axes.imshow(weights, cmap="YlGnBu", vmin=0, aspect="equal", interpolation="none")
        axes.set_yticks(range(rows), [shorten(token, TOKEN_WIDTH) for token in new], fontsize=8)
        axes.set_xticks(
            range(columns), [shorten(token, TOKEN_WIDTH) for token in seen], fontsize=8, rotation=90
        )
        axes.set_ylabel("new token", fontsize=8)
        axes.set_xlabel("looked at when it was chosen", fontsize=8)
        if np.isnan(weights).any():
            axes.axvline(columns - rows + 0.5, color="0.4", linewidth=0.8)
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            text.set_parse_math(False)  # a dollar sign is a dollar sign
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(
            "attention of the last layer, mean of its heads",
            fontsize=9,
            loc="left",
            parse_math=False,
        )
        bar = axes.figure.colorbar(image, ax=axes, pad=0.02, shrink=0.9)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8, length=0)
