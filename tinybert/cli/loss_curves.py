"""Loss curves: the pictures and figures that the log of a training run gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.cli.command import optional
from tinybert.cli.figures import COLOURS, hide_frame, stacked_axes
from tinybert.cli.terminal import print_json, table
from tinybert.training.log import LOG_NAME, read_log

PICTURE = "loss.png"
POINTS = 60  # of a smooth curve: each is the mean of the lines near to it
Line = dict[str, float]


def is_evaluation(line: Line) -> bool:
    """Return whether a line of a log is that of an evaluation."""
    return "learning_rate" not in line


def best_evaluation(log: Sequence[Line], best: str) -> tuple[int | None, Line]:
    """Return the step and the metrics of the best evaluation of a run; None, {} without one.

    best: the metric that decides, with "-" before its name if less is better.
    """
    name, sign = best.removeprefix("-"), -1 if best.startswith("-") else 1

    def score(line: Line) -> float:
        return -math.inf if math.isnan(line[name]) else sign * line[name]

    found = [line for line in log if is_evaluation(line)]
    if not found:
        return None, {}
    line = max(found, key=score)  # the first one of several
    return int(line["step"]), {key: value for key, value in line.items() if key != "step"}


def save_loss_curve(folder: Path, say: Callable[[str], object]) -> None:
    """Draw the log of a run into its folder; without matplotlib, say how to install it."""
    try:
        optional("matplotlib", "plot", PICTURE)
    except ImportError as error:
        say(str(error))
        return
    save_loss_curves(folder / PICTURE, {"": read_log(folder)})


def show_losses(folders: Sequence[str], path: Path | None, as_json: bool) -> int:
    """Print the losses of runs, and draw them into a file; return 0.

    Raises ValueError for a folder without the log of a run.
    """
    if not folders:
        raise ValueError("MODEL is required: the folders of training runs")
    runs = {name: read_log(Path(name)) for name in dict.fromkeys(folders)}
    for name, log in runs.items():
        if not any(not is_evaluation(line) for line in log):
            raise ValueError(f"{name} has no training run: there are no losses in its {LOG_NAME}")
    shown = {name: _summary(log) for name, log in runs.items()}
    if path is not None:
        save_loss_curves(path, {"": runs[folders[0]]} if len(runs) == 1 else runs)
    if as_json:
        print_json({name: {**shown[name], "log": log} for name, log in runs.items()})
        return 0
    rows = [
        [name, *("-" if value is None else f"{value:,.4g}" if isinstance(value, float) else
                 f"{value:,}" for value in values.values())]
        for name, values in shown.items()
    ]  # fmt: skip
    header = ["run", "steps", "loss", "validation", "at step", "tokens/s"]
    print("\n".join(table(header, rows, "lrrrrr")))
    return 0


def _summary(log: Sequence[Line]) -> dict[str, float | None]:
    trained = [line for line in log if not is_evaluation(line)]
    step, best = best_evaluation([line for line in log if "loss" in line], "-loss")
    return {
        "steps": int(trained[-1]["step"]),
        "loss": trained[-1]["loss"],
        "validation_loss": best.get("loss"),
        "best_step": step,
        "tokens_per_second": round(trained[-1]["tokens_per_second"]),
    }


def save_loss_curves(path: Path, runs: Mapping[str, Sequence[Line]]) -> None:
    """Draw the losses of runs, and below them the metrics of their evaluations.

    The loss of training is a thin line, with a smooth one over it if there are many points; the
    loss of an evaluation is a dashed line with dots.

    Args:
        runs: the log of each run by its name; "" for a single run.
    """
    names = _metrics(runs)
    with stacked_axes(path, 6.4, [3.4, *[2.0] * bool(names)]) as all_axes:
        for number, (run, log) in enumerate(runs.items()):
            colour = COLOURS[number % len(COLOURS)]
            other = COLOURS[1] if len(runs) == 1 else colour
            label = f"{run}, " if run else ""
            trained = [line for line in log if not is_evaluation(line)]
            evaluated = [line for line in log if is_evaluation(line)]
            _draw(all_axes[0], trained, "loss", f"{label}training", colour)
            _dots(all_axes[0], evaluated, "loss", f"{label}validation", other)
            for name, style in zip(names, "os^vD", strict=False):
                shown = label + name.replace("_", " ")
                last = COLOURS[(names.index(name) + 1) % len(COLOURS)] if not run else colour
                _dots(all_axes[-1], evaluated, name, shown, last, style)
        all_axes[0].set_ylabel("loss", fontsize=9)
        if names:
            all_axes[1].set_ylabel("validation", fontsize=9)
        all_axes[-1].set_xlabel("step", fontsize=9)
        for axes in all_axes:
            axes.grid(alpha=0.3)
            axes.tick_params(labelsize=8)
            axes.set_xlim(0, 1.02 * max(log[-1]["step"] for log in runs.values()))
            axes.xaxis.get_major_locator().set_params(integer=True)
            hide_frame(axes, "top", "right")
            if axes.lines:
                axes.legend(frameon=False, fontsize=8)


def _metrics(runs: Mapping[str, Sequence[Line]]) -> list[str]:
    """Return the metrics from 0 to 1, such as accuracy, that the evaluations have."""
    found = [line for log in runs.values() for line in log if is_evaluation(line)]
    names = dict.fromkeys(name for line in found for name in line if name not in ("step", "loss"))
    return [n for n in names if all(-1 <= line[n] <= 1 for line in found if n in line)]


def _draw(axes: Any, lines: Sequence[Line], name: str, label: str, colour: str) -> None:
    """Draw a metric that has noise: its points, and their running mean if there are many."""
    steps = np.array([line["step"] for line in lines])
    values = np.array([line[name] for line in lines])
    half = len(values) // POINTS
    if half:
        axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.3)
        sums = np.concatenate([[0.0], np.cumsum(values)])
        first = np.maximum(np.arange(len(values)) - half, 0)
        last = np.minimum(np.arange(len(values)) + half + 1, len(values))
        values = (sums[last] - sums[first]) / (last - first)
    if len(values):
        dot = "o" if len(values) == 1 else None
        axes.plot(steps, values, color=colour, linewidth=1.6, label=label, marker=dot)


def _dots(
    axes: Any, lines: Sequence[Line], name: str, label: str, colour: str, marker: str = "o"
) -> None:
    """Draw a metric of evaluations."""
    steps, values = [[line[key] for line in lines if name in line] for key in ("step", name)]
    if steps:
        axes.plot(steps, values, "--", marker=marker, color=colour, markersize=4, label=label)
