"""Pictures of MEGA: the kernels of its moving averages, and what the length of a text costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.cli.bar_charts import picture

COLOURS = ("#e07a5f", "#3d405b", "#2a6f97", "#81b29a")


def save_kernels(path: Path, kernels: Sequence[np.ndarray], first: int) -> None:
    """Draw the kernels (D, M) of each layer, a row a feature, the longest memory on top.

    first: the lag of the first column. Every kernel is divided by its largest weight.
    """
    with picture(path, 6.5, [2.6] * len(kernels)) as charts:
        for layer, (axes, kernel) in enumerate(zip(charts, kernels, strict=True)):
            size = np.abs(kernel)
            reach = (size * np.abs(np.arange(kernel.shape[1]) + first)).sum(1) / size.sum(1)
            shown = (kernel / size.max(1, keepdims=True))[np.argsort(-reach)]
            image = axes.imshow(
                shown,
                aspect="auto",
                cmap="RdBu",
                vmin=-1,
                vmax=1,
                interpolation="nearest",
                extent=(first - 0.5, first + kernel.shape[1] - 0.5, kernel.shape[0] + 0.5, 0.5),
            )
            axes.set_title(f"layer {layer}", fontsize=9, loc="left")
            axes.set_ylabel("feature, by memory", fontsize=8)
            axes.tick_params(labelsize=8)
            axes.figure.colorbar(image, ax=axes, pad=0.02).ax.tick_params(labelsize=7)
        charts[-1].set_xlabel("steps back" if first == 0 else "steps back (ahead: below 0)")


def save_costs(path: Path, costs: Mapping[str, Any]) -> None:
    """Draw time and memory over the length, both on logarithmic scales, a line a side."""
    with picture(path, 6.0, [3.2, 3.2]) as charts:
        for which, (axes, label) in enumerate(zip(charts, ("seconds", "megabytes"), strict=True)):
            for colour, (side, cost) in zip(COLOURS, costs.items(), strict=False):
                values = cost.seconds if which == 0 else cost.megabytes
                slope = cost.exponents()[which]
                name = side if np.isnan(slope) else f"{side}: length^{slope:.2f}"
                axes.loglog(cost.lengths, values, "o-", color=colour, label=name, markersize=4)
            axes.set_xscale("log", base=2)
            axes.set_ylabel(label, fontsize=9)
            axes.grid(alpha=0.3)
            axes.legend(frameon=False, fontsize=8)
            axes.tick_params(labelsize=8)
        charts[0].set_title("a forward and backward pass of one layer", fontsize=9, loc="left")
        charts[-1].set_xlabel("tokens", fontsize=9)
