"""What the commands that run a pipeline share: --model, --plot, and loading the pipeline."""

from __future__ import annotations

import argparse
from typing import Any

from tinybert.cli.command import add_device_argument, add_json_argument
from tinybert.pipelines import pipeline
from tinybert.pipelines.factory import TASKS


def add_pipeline_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --model, --device, --json."""
    parser.add_argument("--model", metavar="MODEL", help="a model's folder, or its name on the Hub")
    add_device_argument(parser)
    add_json_argument(parser)


def add_plot_argument(parser: argparse.ArgumentParser, figure: str) -> None:
    """Add --plot."""
    parser.add_argument("--plot", metavar="FILE", help=f"save {figure}: .png, .svg or .pdf")


def load_pipeline(task: str, args: argparse.Namespace, **options: Any) -> Any:
    """Return the pipeline of a task for --model; ValueError if --model is missing.

    If the folder lacks the head's weights, they are random, and the loader prints a warning.
    """
    if args.model is None:
        raise ValueError(
            f"--model is required: the folder or Hub name of a model trained for {task} (one that "
            f"{TASKS[task].auto_class.__name__} loads); minilm has no such head"
        )
    return pipeline(task, args.model, device=args.device, **options)
