"""Draw published training runs against the predictions of the planner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinybert.cli.figures import COLOURS, hide_frame, stacked_axes
from tinybert.parallel.plan.papers import UNITS, Published
from tinybert.parallel.plan.runs import MeasuredRun

_PANELS = {
    "scaling": "scaling of V100 (1909.08053, figure 5)",
    "speedup": "1.2 billion parameters on more V100 (1909.08053, table 8)",
    "teraflops": "FLOP/s of an A100 (2104.04473, table 1)",
    "seconds": "seconds of a step (2205.05198, Nemotron-4)",
}


def save_papers(path: Path, runs: Sequence[Published], measured: Sequence[MeasuredRun]) -> None:
    """Draw a panel for each kind of number: bars of the papers or of measured runs, dots of the
    model.
    """
    count = len(_PANELS) + bool(measured)
    with stacked_axes(path, 7.5, [2.3] * count) as all_axes:
        for axes, (kind, title) in zip(all_axes, _PANELS.items(), strict=False):
            shown = [run for run in runs if run.kind == kind and run.source != "1909.08053 5.1"]
            places = range(len(shown))
            axes.bar(places, [run.value for run in shown], 0.6, color=COLOURS[3], label="published")
            for fitted, style in ((False, "o"), (True, "s")):
                some = [(i, run.prediction) for i, run in enumerate(shown) if run.fitted == fitted]
                if some:
                    label = "fitted" if fitted else "predicted"
                    axes.plot(*zip(*some, strict=True), style, color=COLOURS[1 + fitted],
                              markersize=5, label=label)  # fmt: skip
            names = [f"{run.model.rpartition('-')[2]}\n{run.job.ranks:,}" for run in shown]
            axes.set_xticks(list(places), names, fontsize=7)
            axes.set_ylabel(UNITS[kind], fontsize=9)
            axes.set_title(title, fontsize=9, loc="left")
            axes.tick_params(labelsize=7)
            if kind == "seconds":
                axes.set_yscale("log")
            hide_frame(axes, "top", "right")
            axes.legend(frameon=False, fontsize=7, ncols=3, loc="upper left",
                        bbox_to_anchor=(0.6, 1.2))  # fmt: skip
        all_axes[len(_PANELS) - 1].set_xlabel("parameters, and number of GPUs", fontsize=8)
        if measured:
            _draw_measured(all_axes[-1], measured)


def _draw_measured(axes: Any, runs: Sequence[MeasuredRun]) -> None:
    """Draw the seconds of measured steps, by their grid."""
    places = range(len(runs))
    axes.bar(places, [run.seconds for run in runs], 0.6, color=COLOURS[0], label="measured")
    axes.plot(places, [run.predicted for run in runs], "o", color=COLOURS[1], markersize=5,
              label="predicted")  # fmt: skip
    names = [f"{run.tensor}x{run.pipeline}x{run.data}\n{run.kind}" for run in runs]
    axes.set_xticks(list(places), names, fontsize=6)
    axes.set_ylabel("s", fontsize=9)
    axes.set_title("seconds of a step on the ranks of one machine", fontsize=9, loc="left")
    axes.set_xlabel("tensor x pipeline x data", fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    hide_frame(axes, "top", "right")
    axes.legend(frameon=False, fontsize=7, ncols=2, loc="upper left", bbox_to_anchor=(0.6, 1.2))
