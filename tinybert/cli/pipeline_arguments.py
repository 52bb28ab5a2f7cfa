"""What the commands that run a task share: their model, and bars for scores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tinybert.cli.command import add_device_argument, add_json_argument, optional
from tinybert.cli.heatmap import check_plot
from tinybert.pipelines import pipeline
from tinybert.pipelines.factory import TASKS

BAR = 24  # columns of a bar that stands for 1
EIGHTHS = " ▏▎▍▌▋▊▉"


def add_task_arguments(parser: argparse.ArgumentParser) -> None:
    """--model, --device, --json."""
    parser.add_argument("--model", metavar="MODEL", help="a folder, or a name on the Hub")
    add_device_argument(parser)
    add_json_argument(parser)


def add_plot_argument(parser: argparse.ArgumentParser, picture: str) -> None:
    """--plot."""
    parser.add_argument("--plot", metavar="FILE", help=f"write {picture}: .png, .svg or .pdf")


def plot_file(args: argparse.Namespace) -> Path | None:
    """The file of --plot; refused before the work if it cannot be drawn or written."""
    if args.plot is None:
        return None
    optional("matplotlib", "plot", "--plot")
    check_plot(Path(args.plot), 0)
    return Path(args.plot)


def load_task(task: str, args: argparse.Namespace, **options: Any) -> Any:
    """The pipeline of a task; ValueError if --model is missing, saying what it should be.

    A head that the model's folder lacks is drawn at random, which the loader says in a warning.
    """
    if args.model is None:
        raise ValueError(
            f"--model is needed: the folder of a model trained for {task} (as "
            f"{TASKS[task].auto_class.__name__} loads it), or its name on the Hub; "
            "minilm has no such head"
        )
    return pipeline(task, args.model, device=args.device, **options)


def bar(score: float) -> str:
    """A bar of `BAR` columns for 1, in steps of an eighth of a column."""
    whole, part = divmod(round(min(max(score, 0.0), 1.0) * BAR * 8), 8)
    return ("█" * whole + EIGHTHS[part]).rstrip()
