"""Draw the kernels of MEGA's moving averages, and the cost of long sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.cli.figures import COLOURS, stacked_axes

LINE_COLOURS = (COLOURS[1], COLOURS[2], COLOURS[0])


def save_kernels(path: Path, kernels: Sequence[np.ndarray], first_lag: int, note: str = "") -> None:
    """Draw the kernels (D, M) of each layer, one row per feature, the longest memory at the top.

    first_lag: the lag of the first column. Every kernel is divided by its largest weight.
    note: the title of the figure.
    """
    with stacked_axes(path, 6.5, [2.6] * len(kernels)) as all_axes:
        for layer, (axes, kernel) in enumerate(zip(all_axes, kernels, strict=True)):
            size = np.abs(kernel)
            lags = np.abs(np.arange(kernel.shape[1]) + first_lag)
            mean_lag = (size * lags).sum(1) / size.sum(1)
            scaled = (kernel / size.max(1, keepdims=True))[np.argsort(-mean_lag)]
            image = axes.imshow(
                scaled,
                aspect="auto",
                cmap="RdBu",
                vmin=-1,
                vmax=1,
                interpolation="nearest",
                extent=(first_lag - 0.5, first_lag + size.shape[1] - 0.5, size.shape[0] + 0.5, 0.5),
            )
            axes.set_title(f"layer {layer}", fontsize=9, loc="left")
            axes.set_ylabel("feature, sorted by memory", fontsize=8)
            axes.tick_params(labelsize=8)
            axes.figure.colorbar(image, ax=axes, pad=0.02).ax.tick_params(labelsize=7)
        all_axes[0].figure.suptitle(note, fontsize=9)
        two_sided = "lag (negative: later tokens)"
        all_axes[-1].set_xlabel("lag" if first_lag == 0 else two_sided)


def save_costs(path: Path, costs: Mapping[str, Any]) -> None:
    """Draw time and memory against the length, on logarithmic scales, one line per model."""
    with stacked_axes(path, 6.0, [3.2, 3.2]) as all_axes:
        for which, (axes, label) in enumerate(zip(all_axes, ("seconds", "megabytes"), strict=True)):
            for colour, (model, cost) in zip(LINE_COLOURS, costs.items(), strict=False):
                values = cost.seconds if which == 0 else cost.megabytes
                exponent = cost.exponents()[which]
                name = model if np.isnan(exponent) else f"{model}: length^{exponent:.2f}"
                axes.loglog(cost.lengths, values, "o-", color=colour, label=name, markersize=4)
            axes.set_xscale("log", base=2)
            axes.set_ylabel(label, fontsize=9)
            axes.grid(alpha=0.3)
            axes.legend(frameon=False, fontsize=8)
            axes.tick_params(labelsize=8, which="both")
        all_axes[0].set_title("forward and backward pass of one layer", fontsize=9, loc="left")
        all_axes[-1].set_xlabel("tokens", fontsize=9)
