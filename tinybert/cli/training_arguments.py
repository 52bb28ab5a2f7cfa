"""What the commands that train share: options from flags and a config file, and the run."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from tinybert.checks import check_number
from tinybert.cli.loss_curves import best_evaluation, save_loss_curve
from tinybert.cli.ranks import grid_of, is_first, ranks_trainer, read_grid
from tinybert.cli.terminal import print_json
from tinybert.models.config import read_json_object
from tinybert.training import Batches, Trainer, TrainingConfig
from tinybert.training.checkpoint import checkpoints
from tinybert.training.log import LOG_NAME, read_log
from tinybert.training.trainer import readable, task_trainer
from tinybert.weights import atomic_write

RUN_NAME = "run.json"
# How a trained model is used.
USES = {
    "classification": 'classify "TEXT" --model MODEL',
    "tagging": 'tag "TEXT" --model MODEL',
    "question-answering": 'answer "QUESTION" --context "TEXT" --model MODEL',
    "masked": 'fill-mask "The [MASK] of the ship." --model MODEL',
    "masked+next": 'fill-mask "The [MASK] of the ship." --model MODEL',
    "causal": 'generate "TEXT" --model MODEL',
}
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
    """Add --output, --config, --resume, --batch-size, --epochs, and options of `TrainingConfig`.

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
    parser.set_defaults(grid=None)  # `on_ranks` sets it for commands that run on several ranks


def read_options(args: argparse.Namespace, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run: from its flag, else from --config, else the default.

    With --resume, the config of the run in --output is used if --config is not given.

    defaults: the options of the command, None for those without a default.

    Raises ValueError for an option in the config file that the command does not have, and if an
    option without default is given nowhere.
    """
    known = {**{field.name: field.default for field in fields(TrainingConfig)}, **defaults}
    known["steps"] = None
    path = config_file(args)
    if args.resume and path is None and args.output is not None:
        say(f"note: {args.output} has no {RUN_NAME}; all options are those of the command line")
    from_file = read_json_object(path) if path else {}
    grid = from_file.pop("grid", None)
    if grid is not None and grid != grid_of(args):
        say(f"note: the grid of the run in {path} was {json.dumps(grid)}, now it is another")
    for name in from_file:
        if name not in known:
            raise ValueError(f"{path}: unknown option {name!r}; known: {', '.join(known)}")
    flags = {name: getattr(args, name, None) for name in known}
    given = {name: value for name, value in flags.items() if value not in (None, [])}
    options = {**known, **from_file, **given}
    if options["output"] is None:
        raise ValueError("--output FOLDER is required: where the model is written")
    return options


def config_file(args: argparse.Namespace) -> Path | None:
    """Return the file of --config, or with --resume the config of the run in --output."""
    if args.config is not None:
        return Path(args.config)
    own = Path(args.output) / RUN_NAME if args.resume and args.output is not None else None
    return own if own is not None and own.exists() else None


def earlier_grid(args: argparse.Namespace) -> tuple[Path, dict[str, Any]] | None:
    """Return the file and the grid of the run that --resume or --config names; None without."""
    path = config_file(args)
    grid = None if path is None else read_json_object(path).get("grid")
    return None if path is None or grid is None else (path, read_grid(path, grid))


def check_output(options: Mapping[str, Any], args: argparse.Namespace) -> None:
    """Raise ValueError if the output folder has a run or a model, unless --resume is given."""
    folder = Path(options["output"])
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output: {folder} is a file, not a folder")
    if args.resume:
        return
    if (folder / LOG_NAME).exists():
        raise ValueError(f"{folder} has a run already; add --resume, or choose another --output")
    if (folder / "config.json").exists():
        raise ValueError(f"{folder} has a model already; choose another --output")


def training_config(
    options: Mapping[str, Any], batches: Batches, copies: int = 1
) -> TrainingConfig:
    """Return the options of the loop; --epochs gives the number of steps.

    copies: of the model, on data-parallel ranks; in a step each takes `accumulation` batches.
    """
    chosen = {field.name: options[field.name] for field in fields(TrainingConfig)}
    steps_an_epoch = len(batches) / (chosen["accumulation"] * copies)
    check_number("epochs", options["epochs"])
    if chosen["steps"] is None:
        chosen["steps"] = max(1, round(options["epochs"] * steps_an_epoch))
    if chosen["evaluate_every"] is None:
        chosen["evaluate_every"] = max(1, round(steps_an_epoch))
    return TrainingConfig(**chosen)


def train(
    model: Any,
    task: Any,
    data: Any,
    held_out: Any,
    tokenizer: Any,
    options: Mapping[str, Any],
    args: argparse.Namespace,
) -> int:
    """Start or continue a run, report it on standard error, print its metrics; return 0.

    Args:
        task: a `Task`, or the objective of a language model: what it reads from `data` and
            `held_out` are its batches and its metrics.
        held_out: the data to evaluate on, or None.
    """
    trained = f", {model.num_parameters(True):,} of them trained" if model.adapters else ""
    say(f"{type(model).__name__} with {model.num_parameters():,} parameters{trained}")
    if options["patience"] is not None and held_out is None:
        raise ValueError("--patience needs --validation: without it there are no evaluations")
    folder = Path(options["output"])
    batches = task.batches(data, options["batch_size"], options["seed"])
    config = training_config(options, batches, args.grid.data.size if args.grid else 1)
    chosen = (model, task, batches, held_out, config, folder, tokenizer, say)
    trainer = task_trainer(*chosen) if args.grid is None else ranks_trainer(*chosen, args)
    if args.resume:
        if trainer.resume():
            say(f"resumed after step {trainer.step} of {trainer.config.steps}")
        else:
            say(f"{folder} has no checkpoint: the run starts at the beginning")
    folder.mkdir(parents=True, exist_ok=True)
    if is_first(args):
        with atomic_write(folder / RUN_NAME, "w") as file:
            grid = {} if args.grid is None else {"grid": grid_of(args)}
            json.dump({**options, **grid}, file, indent=2)
            file.write("\n")
    for group in trainer.optimizer.param_groups if args.grid is None else ():
        count = sum(weight.size for weight in group["params"])
        say(
            f"weight decay {group['weight_decay']:g}: {len(group['params'])} parameters, "
            f"{count:,} numbers"
        )
    say(f"{trainer.config.steps:,} steps, {len(batches):,} batches an epoch")
    try:
        trainer.train()
    except KeyboardInterrupt:
        if checkpoints(folder):
            say("--resume continues from the last checkpoint")
        raise
    if not is_first(args):
        return 0
    return _report(trainer, options, args, getattr(task, "name", None) or task.objective)


def _report(
    trainer: Trainer, options: Mapping[str, Any], args: argparse.Namespace, task: str
) -> int:
    """Say where the model is and how to use it, and print its metrics."""
    if trainer.step < trainer.config.steps:
        say(f"stopped at step {trainer.step}: {trainer.config.patience} evaluations without gain")
    save_loss_curve(trainer.folder, say)
    step, metrics = best_evaluation(read_log(trainer.folder), trainer.best)
    kept = f", the best model, of step {step}" if metrics else ""
    say(f"saved {trainer.folder}{kept}")
    use = USES.get(task, f"evaluate {task} MODEL FILE").replace("MODEL", options["output"])
    say(f"to use it: tinybert {use}")
    if args.json:
        print_json({
            "output": options["output"], "steps": trainer.step, "best_step": step,
            "metrics": finite(metrics),
        })  # fmt: skip
    elif metrics:
        print(readable(metrics))
    return 0


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Return metrics for JSON, which has neither infinity nor NaN: they become None."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def say(line: str) -> None:
    """Print a line on standard error, above the progress bar if there is one."""
    tqdm = sys.modules.get("tqdm")
    if tqdm is None:
        print(line, file=sys.stderr)
    else:
        tqdm.tqdm.write(line, file=sys.stderr)
