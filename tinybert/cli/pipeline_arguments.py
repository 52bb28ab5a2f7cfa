"""What the commands that run a pipeline share: --model, --plot, and loading the pipeline."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tinybert.cli.command import add_device_argument, add_json_argument, add_model_argument
from tinybert.embedded import default_of
from tinybert.pipelines import pipeline
from tinybert.pipelines.factory import TASKS


def add_pipeline_arguments(parser: argparse.ArgumentParser, task: str) -> None:
    """Add --model, --untrained, --device, --json; the task's own model is the default."""
    add_model_argument(parser, default_of(task))
    add_untrained_argument(parser)
    add_device_argument(parser)
    add_json_argument(parser)


def add_untrained_argument(parser: argparse.ArgumentParser) -> None:
    """Add --untrained."""
    parser.add_argument(
        "--untrained",
        action="store_true",
        help="use the model even if it lacks trained weights for the task",
    )


def add_plot_argument(parser: argparse.ArgumentParser, figure: str) -> None:
    """Add --plot."""
    parser.add_argument("--plot", metavar="FILE", help=f"save {figure}: .png, .svg or .pdf")


def load_pipeline(task: str, args: argparse.Namespace, **options: Any) -> Any:
    """Return the pipeline of a task for --model; ValueError if --model is missing.

    In a terminal, say which model answers if the user has not named one.
    """
    if args.model is None:
        raise ValueError(
            f"--model is required: the folder or Hub name of a model trained for {task} (one that "
            f"{TASKS[task].auto_class.__name__} loads); the package has none (see `tinybert "
            "models`)"
        )
    if args.model == default_of(task) and sys.stderr.isatty():
        print(f"model: {args.model}", file=sys.stderr)
    return trained(lambda: pipeline(task, args.model, device=args.device, **options), task, args)


def trained(load: Callable[[], Any], task: str, args: argparse.Namespace) -> Any:
    """Return the pipeline that `load` returns.

    Raises ValueError if the model's file lacks weights, which are then random, unless --untrained
    is given. The warnings of loading are logged only if no error is raised.
    """
    with warnings_unless_error():
        loaded = load()
        if loaded.untrained and not args.untrained:
            names = ", ".join(loaded.untrained[:3])
            more = f" and {len(loaded.untrained) - 3} more" if len(loaded.untrained) > 3 else ""
            raise ValueError(
                f"{args.model} has no trained weights for {task}; answers would be random. It "
                f"lacks {names}{more}; give another --model, or --untrained to use it as it is"
            )
    return loaded


@contextmanager
def warnings_unless_error() -> Iterator[None]:
    """Log the warnings of the block at its end; none if it raises an error, which says more."""
    logger, records = logging.getLogger("tinybert"), list[logging.LogRecord]()

    def keep(record: logging.LogRecord) -> bool:
        records.append(record)
        return False

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
    for record in records:
        logger.handle(record)
