"""`tinybert finetune`: train a model for a task on examples."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinybert.backend import manual_seed
from tinybert.checks import check_integer
from tinybert.cli.command import Command, add_device_argument, add_json_argument
from tinybert.cli.ranks import add_rank_arguments, first_alone, on_ranks
from tinybert.cli.task_arguments import (
    DEFAULTS,
    TASK_LIST,
    TASK_NAMES,
    add_task_arguments,
    describe,
    make_task,
    read_data,
)
from tinybert.cli.terminal import shorten
from tinybert.cli.training_arguments import (
    add_training_arguments,
    check_output,
    earlier_grid,
    read_options,
    say,
    train,
)
from tinybert.hub import resolve
from tinybert.hub_cache import EMBEDDED
from tinybert.models.lora import LoraConfig, add_adapters
from tinybert.tokenizers import AutoTokenizer
from tinybert.training import TASKS, Task

DETAILS = f"""\
Trains all weights of a model, with a new head where the task needs one, on
examples: .csv, .tsv, .jsonl or .conll files. With --rank R only the head and
low-rank adapters (LoRA) are trained and saved, in PEFT's format; --model stays
as it is, and is needed to use them. The tasks and their columns:

{TASK_LIST}

--column text=review reads the text from a column of another name.
With --validation the best model so far is kept; --patience stops early. The
folder --output is a model folder; run.json in it repeats the run with
--config, loss.png shows its curves, and `tinybert finetune --resume --output
FOLDER` continues it after an interruption."""

EXAMPLE = """\
  $ tinybert finetune classification --train train.csv --validation valid.csv \\
      --output my-model --epochs 3
  $ tinybert evaluate classification my-model test.csv
  $ tinybert classify "What a film!" --model my-model
  $ tinybert finetune tagging --train train.conll --output my-tagger
  $ tinybert finetune tagging --train train.conll --output my-small-tagger \\
      --rank 8 --learning-rate 1e-3
  $ tinybert finetune masked --train letters.txt --model my-bert \\
      --output letters-bert"""

OPTIONS: dict[str, Any] = {
    **DEFAULTS, "task": None, "train": None, "validation": None, "model": EMBEDDED, "output": None,
    "batch_size": 16, "epochs": 3, "device": "cpu", "rank": None, "alpha": None, "targets": None,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TASK, --train, --validation, --model, and the options of tasks and of training."""
    parser.add_argument(
        "task", choices=TASK_NAMES, nargs="?", metavar="TASK", help=", ".join(TASK_NAMES)
    )
    parser.add_argument("--train", nargs="+", metavar="FILE", help="examples to train on")
    parser.add_argument("--validation", nargs="+", metavar="FILE", help="examples to evaluate on")
    parser.add_argument("--model", metavar="MODEL", help=f"the model to start from ({EMBEDDED})")
    parser.add_argument("--rank", type=int, metavar="R", help="train adapters of rank R, not all")
    parser.add_argument(
        "--alpha", type=float, metavar="X", help="adapters are scaled by X / R (default: 2 R)"
    )
    parser.add_argument(
        "--targets", nargs="+", metavar="NAME",
        help="layers with adapters, by the ends of their names (default: query value)",
    )  # fmt: skip
    add_task_arguments(parser)
    add_training_arguments(parser)
    add_rank_arguments(parser)
    add_device_argument(parser, None)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Train, and print the metrics of the model."""
    options = read_options(args, OPTIONS)
    for name in ("task", "train"):
        if options[name] is None:
            raise ValueError(f"{'TASK' if name == 'task' else '--train FILE'} is required")
    check_output(options, args)
    _check_adapters(options)
    folder, output = resolve(options["model"]), Path(options["output"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    task = make_task(options, tokenizer)
    path = output / "tokens.safetensors"
    data = first_alone(args, lambda: read_data(options["train"], options, task, path))
    say(describe(options["train"], data) + _labels(task))
    held_out = None
    if options["validation"]:
        other = output / "validation.safetensors"
        held_out = first_alone(args, lambda: read_data(options["validation"], options, task, other))
        say(describe(options["validation"], held_out))
    own = task.config() if isinstance(task, Task) else {}
    with manual_seed(options["seed"]):  # of a new head, and of adapters
        model, report = task.auto.from_pretrained(
            folder, device=options["device"], output_loading_info=True, **own
        )
        if options["rank"] is not None:
            _add_adapters(model, report, options)
    if not isinstance(task, Task):
        task.check_model(model)
    return train(model, task, data, held_out, tokenizer, options, args)


def _check_adapters(options: Mapping[str, Any]) -> None:
    """Check --rank, --alpha and --targets before the data are read."""
    check_integer("rank", options["rank"], 1, optional=True)
    for name in ("alpha", "targets"):
        if options["rank"] is None and options[name] is not None:
            raise ValueError(f"--{name} needs --rank: without it all weights are trained")


def _add_adapters(model: Any, report: Any, options: Mapping[str, Any]) -> None:
    """Add the adapters that --rank, --alpha and --targets ask for.

    Trained as a whole are the modules that the model's file lacks, and the head of a task.
    """
    new = [*report.missing_keys, *(name for name, *_ in report.mismatched_keys)]
    whole = {name.rpartition(".")[0] for name in new}
    if options["task"] in TASKS:
        base = model.base_model_prefix
        heads = ((name, part) for name, part in model.named_children() if name != base)
        whole |= {name for name, part in heads if part.num_parameters()}
    name, rank, alpha = options["model"], options["rank"], options["alpha"]
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        target_modules=options["targets"],
        modules_to_save=sorted(whole),
        base_model_name_or_path=os.path.abspath(name) if os.path.isdir(name) else name,
    )
    add_adapters(model, config)


def _labels(task: Any) -> str:
    """Describe the labels; ValueError if there is nothing to choose from."""
    labels = task.labels if isinstance(task, Task) else []
    if len(labels) == 1 and getattr(task, "kind", "single") == "single":
        raise ValueError(
            f"--train: all rows have the label {labels[0]!r}; there must be at least two labels"
        )
    return shorten(f", labels: {', '.join(labels)}", 400) if labels else ""


FLAGS = {"lora_alpha": "--alpha", "target_modules": "--targets"}  # for errors
COMMAND = Command(
    DETAILS, EXAMPLE, add_arguments, on_ranks(run, earlier=earlier_grid), FLAGS, ranks=True
)
