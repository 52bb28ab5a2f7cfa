"""`tinybert finetune`: train a model for a task on labelled examples."""

from __future__ import annotations

import argparse
from typing import Any

from tinybert.cli.command import Command, add_device_argument, add_json_argument
from tinybert.cli.training_arguments import (
    add_training_arguments,
    read_options,
    run_training,
    say,
    training_config,
)
from tinybert.fetch import model_folder
from tinybert.tokenizers import AutoTokenizer
from tinybert.training import TASKS, Batches, Task, Trainer, read_rows
from tinybert.training.examples import EncodedExamples, rename_columns

DETAILS = """\
Trains all weights of a model and a new head on labelled examples: a .csv,
.tsv, .jsonl or .conll file. The tasks and their columns:

  classification      text, label, and perhaps text_pair
  tagging             words, tags (in a CoNLL file the first and last column)
  question-answering  question, context, answer, and perhaps start
  multiple-choice     text, choices, label
  next-sentence       text, text_pair, label

--column text=review reads the text from a column of another name.
With --validation the best model so far is kept; --patience stops early. The
folder --output is a model folder; run.json in it repeats the run with
--config, and --resume continues it after an interruption."""

EXAMPLE = """\
  $ tinybert finetune classification --train train.csv --validation valid.csv \\
      --model minilm --output my-model --epochs 3
  $ tinybert classify "What a film!" --model my-model
  $ tinybert finetune tagging --train train.conll --output my-tagger"""

DEFAULTS: dict[str, Any] = {
    "task": None, "train": None, "validation": None, "model": "minilm", "output": None,
    "column": [], "columns": None, "kind": "single", "max_length": 128, "stride": None,
    "batch_size": 16, "epochs": 3, "device": "cpu",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TASK, --train, --validation, --model, --column, ... and the training options."""
    parser.add_argument("task", choices=TASKS, nargs="?", metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--train", metavar="FILE", help="labelled examples to train on")
    parser.add_argument("--validation", metavar="FILE", help="labelled examples to evaluate on")
    parser.add_argument("--model", metavar="MODEL", help="the model to start from (minilm)")
    parser.add_argument(
        "--column", action="append", metavar="NAME=COLUMN", help="where to read a value from"
    )
    parser.add_argument(
        "--columns", metavar="NAMES", help='names of a file without a header: "a,b"'
    )
    parser.add_argument("--kind", metavar="KIND", help="single, multi or regression (labels)")
    parser.add_argument("--max-length", type=int, metavar="N", help="most tokens (default: 128)")
    parser.add_argument("--stride", type=int, metavar="N", help="tokens two windows share")
    add_training_arguments(parser)
    add_device_argument(parser)
    add_json_argument(parser)


def make_task(options: dict[str, Any], tokenizer: Any) -> Task:
    """Return the task with its options."""
    task_class = TASKS[options["task"]]
    own = {name: options[name] for name in task_class.options if options[name] is not None}
    return task_class(tokenizer, options["max_length"], **own)


def read_examples(name: str, options: dict[str, Any], task: Task) -> list[dict[str, Any]]:
    """Read a file of labelled examples, and give its columns the names of the task."""
    columns = options["columns"].split(",") if options["columns"] else ()
    rows = read_rows(name, columns)
    return rename_columns(rows, options["column"], task, name)


def run(args: argparse.Namespace) -> int:
    """Train, and print the last metrics."""
    options = read_options(args, DEFAULTS)
    for name in ("task", "train"):
        if options[name] is None:
            raise ValueError(f"{'TASK' if name == 'task' else '--train FILE'} is required")
    folder = model_folder(options["model"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    task = make_task(options, tokenizer)
    rows = read_examples(options["train"], options, task)
    task.learn_labels(rows)
    say(
        f"{options['train']}: {len(rows):,} rows"
        + (f", labels: {', '.join(task.labels)}" if task.labels else "")
    )
    held_out = read_examples(options["validation"], options, task) if options["validation"] else []
    model = task.auto.from_pretrained(folder, device=options["device"], **task.config())
    batches = Batches(
        EncodedExamples(task, rows), task.collate, options["batch_size"], options["seed"]
    )
    trainer = Trainer(
        model,
        batches,
        training_config(options, batches),
        options["output"],
        evaluate=(lambda model: task.evaluate(model, held_out)) if held_out else None,
        best=task.best,
        count=task.count,
        save=tokenizer.save_pretrained,
        report=say,
    )
    return run_training(trainer, options, args)


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
