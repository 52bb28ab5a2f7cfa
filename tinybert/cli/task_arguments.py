"""What `finetune` and `evaluate` share: the tasks, their options, and the data that they read."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinybert.training import TASKS, Task, TokenFile, read_rows
from tinybert.training.examples import EncodedExamples, column_names, rename_columns
from tinybert.training.language_modeling import LanguageModeling

TASK_NAMES = (*TASKS, "masked", "causal")
TASK_LIST = """\
classification      text, label, and perhaps text_pair
tagging             words, tags (in a CoNLL file the first and last column)
question-answering  question, context, answer, and perhaps start
multiple-choice     text, choices, label (the index of the right choice)
next-sentence       text, text_pair, label (0: the second text is the next)
masked, causal      text; or a .txt file with a sentence or paragraph a line and
                    an empty line between documents"""
DEFAULTS: dict[str, Any] = {
    "column": [], "columns": None, "max_length": 128, "kind": None, "stride": None,
    "mask_share": None, "plain_masks": None,
}  # fmt: skip
# Options that one task alone has.
ONLY = {
    "kind": "classification",
    "stride": "question-answering",
    "mask_share": "masked",
    "plain_masks": "masked",
}


def add_task_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --column, --columns, --max-length, and the options of single tasks.

    The flags have no defaults; those are in `DEFAULTS`.
    """
    parser.add_argument(
        "--column", action="append", metavar="NAME=COLUMN", help="where to read a value from"
    )
    parser.add_argument(
        "--columns", metavar="NAMES", help='names of a file without a header: "a,b"'
    )
    parser.add_argument(
        "--length", "--max-length", type=int, metavar="N", dest="max_length",
        help="most tokens of an example (default: 128)",
    )  # fmt: skip
    parser.add_argument(
        "--kind", metavar="KIND", help="of classification: single, multi or regression"
    )
    parser.add_argument(
        "--stride", type=int, metavar="N", help="of question-answering: tokens two windows share"
    )
    parser.add_argument(
        "--mask-share", type=float, metavar="X", help="of masked: share of tokens (default: 0.15)"
    )
    parser.add_argument(
        "--plain-masks", action="store_const", const=True,
        help="of masked: mask tokens, not whole words",
    )  # fmt: skip


def make_task(options: Mapping[str, Any], tokenizer: Any) -> Task | LanguageModeling:
    """Return the task of `options["task"]` with its options.

    Raises ValueError for an option that the task does not have.
    """
    name, length = options["task"], options["max_length"]
    given = {option: options[option] for option in ONLY if options[option] is not None}
    for option in given:
        if ONLY[option] != name:
            flag = "--" + option.replace("_", "-")
            raise ValueError(f"{flag} is an option of {ONLY[option]}, not of {name}")
    if name in TASKS:
        return TASKS[name](tokenizer, length, **given)
    whole_words = not given.pop("plain_masks", False)
    return LanguageModeling(tokenizer, name, length, whole_words=whole_words, **given)


def read_examples(files: Sequence[str], options: Mapping[str, Any], task: Task) -> EncodedExamples:
    """Read files of labelled examples; the task learns its labels from the first ones."""
    columns = options["columns"].split(",") if options["columns"] else ()
    rows, places = [], []
    for name in files:
        found = rename_columns(read_rows(name, columns), options["column"], task, name)
        rows += found
        places += [f"{name}: row {number}" for number in range(1, len(found) + 1)]
    if not task.labels:
        task.learn_labels(rows)
    return EncodedExamples(task, rows, places)


def read_data(
    files: Sequence[str], options: Mapping[str, Any], task: Task | LanguageModeling, path: Path
) -> EncodedExamples | TokenFile:
    """Read the examples of a task; those of a language model are kept in the token file `path`."""
    if isinstance(task, Task):
        return read_examples(files, options, task)
    if options["columns"]:
        raise ValueError("--columns is not an option of masked and causal")
    column = column_names(options["column"], ("text",)).get("text", "text")
    path.parent.mkdir(parents=True, exist_ok=True)
    return TokenFile.build(path, files, task.tokenizer, column)


def describe(files: Sequence[str], data: EncodedExamples | TokenFile) -> str:
    """Say how much data there is."""
    names = files[0] if len(files) == 1 else f"{len(files)} files"
    if isinstance(data, TokenFile):
        count = len(data.documents) - 1
        return f"{names}: {len(data):,} tokens, number of documents: {count:,}"
    return f"{names}: {len(data.rows):,} rows"
