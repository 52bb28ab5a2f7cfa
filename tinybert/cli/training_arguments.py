"""What the commands that train share: options from flags and a config file, and the run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from tinybert.cli.terminal import print_json
from tinybert.models.config import read_json_object
from tinybert.training import Batches, Trainer, TrainingConfig
from tinybert.training.checkpoint import checkpoints
from tinybert.training.trainer import readable
from tinybert.weights import atomic_write

RUN_NAME = "run.json"
# Flags of TrainingConfig, with type, placeholder and help.
FLAGS: dict[str, tuple[type, str, str]] = {
    "steps": (int, "N", "number of updates (default: by --epochs)"),
    "accumulation": (int, "N", "batches in one update (default: 1)"),
    "learning_rate": (float, "RATE", "largest learning rate"),
    "warmup": (float, "SHARE", "share of the steps in which the rate grows (default: 0.06)"),
    "schedule": (str, "NAME", "linear, cosine or constant (default: linear)"),
    "optimizer": (str, "NAME", "adamw, adam, lamb or sgd (default: adamw)"),
    "weight_decay": (float, "X", "weight decay of matrices (default: 0.01)"),
    "max_grad_norm": (float, "X", "limit of the gradient's norm (default: 1)"),
    "seed": (int, "N", "seed of everything random (default: 0)"),
    "log_every": (int, "N", "steps between lines of the log (default: 10)"),
    "evaluate_every": (int, "N", "steps between evaluations (default: once an epoch)"),
    "save_every": (int, "N", "steps between checkpoints (default: 500)"),
    "keep": (int, "N", "number of checkpoints to keep (default: 2)"),
    "patience": (int, "N", "stop after N evaluations without gain (default: never)"),
}
SWITCHES = {
    "float16": "compute in float16, with float32 weights (for a GPU)",
    "gradient_checkpointing": "less memory, a third more time",
}


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --output, --config, --resume, --batch-size, --epochs, and those of `TrainingConfig`.

    The flags have no defaults: `read_options` chooses between flag, config file and default.
    """
    run = parser.add_argument_group("training")
    run.add_argument("--output", metavar="FOLDER", help="where the model is written")
    run.add_argument("--config", metavar="FILE", help=f"options of an earlier run, its {RUN_NAME}")
    run.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    run.add_argument("--batch-size", type=int, metavar="N", help="examples in a batch")
    run.add_argument("--epochs", type=float, metavar="N", help="passes over the data")
    for name, (kind, placeholder, text) in FLAGS.items():
        flag = "--" + name.replace("_", "-")
        run.add_argument(flag, type=kind, metavar=placeholder, help=text)
    for name, text in SWITCHES.items():
        flag = "--" + name.replace("_", "-")
        run.add_argument(flag, action="store_const", const=True, help=text)


def read_options(args: argparse.Namespace, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run: from its flag, else from --config, else the default.

    defaults: the options of the command, None for those without a default.

    Raises ValueError for an option in the config file that the command does not have, and if an
    option without default is given nowhere.
    """
    known = {**{field.name: field.default for field in fields(TrainingConfig)}, **defaults}
    known["steps"] = None
    from_file = read_json_object(Path(args.config)) if args.config else {}
    for name in from_file:
        if name not in known:
            raise ValueError(f"{args.config}: unknown option {name!r}; known: {', '.join(known)}")
    flags = {name: getattr(args, name, None) for name in known}
    given = {name: value for name, value in flags.items() if value not in (None, [])}
    options = {**known, **from_file, **given}
    if options["output"] is None:
        raise ValueError("--output FOLDER is required: where the model is written")
    return options


def training_config(options: Mapping[str, Any], batches: Batches) -> TrainingConfig:
    """Return the options of the loop; --epochs gives the number of steps."""
    chosen = {field.name: options[field.name] for field in fields(TrainingConfig)}
    batches_an_epoch = len(batches) / chosen["accumulation"]
    if chosen["steps"] is None:
        chosen["steps"] = max(1, round(options["epochs"] * batches_an_epoch))
    if chosen["evaluate_every"] is None:
        chosen["evaluate_every"] = max(1, round(batches_an_epoch))
    return TrainingConfig(**chosen)


def run_training(trainer: Trainer, options: Mapping[str, Any], args: argparse.Namespace) -> int:
    """Start or continue a run, report it on standard error, print the last metrics; return 0.

    Raises ValueError if the output folder has a run already and --resume is not given.
    """
    folder = Path(options["output"])
    if args.resume:
        if trainer.resume():
            say(f"resumed after step {trainer.step} of {trainer.config.steps}")
    elif (folder / "log.jsonl").exists():
        raise ValueError(f"{folder} has a run already; add --resume, or choose another --output")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / RUN_NAME, "w") as file:
        json.dump(dict(options), file, indent=2)
        file.write("\n")
    for group in trainer.optimizer.param_groups:
        count = sum(weight.size for weight in group["params"])
        say(
            f"weight decay {group['weight_decay']:g}: {len(group['params'])} parameters, "
            f"{count:,} numbers"
        )
    try:
        metrics = trainer.train()
    except KeyboardInterrupt:
        if checkpoints(folder):
            say("--resume continues from the last checkpoint")
        raise
    say(f"saved {folder}")
    if args.json:
        print_json({"output": options["output"], "steps": trainer.step, "metrics": metrics})
    elif metrics:
        print(readable(metrics))
    return 0


def say(line: str) -> None:
    """Print a line on standard error."""
    print(line, file=sys.stderr)
