"""The arguments of the commands that record a model: `tinybert step` and `tinybert trace`."""

from __future__ import annotations

import argparse
import os

from tinybert.cli.command import add_device_argument, add_json_argument, add_model_argument
from tinybert.cli.pipeline_arguments import add_untrained_argument, trained
from tinybert.hub import WEIGHT_FILES, resolve
from tinybert.models import AutoConfig
from tinybert.pipelines import pipeline
from tinybert.trace import load_trace
from tinybert.trace.runs import Run, record_script, record_texts, task_of

TASKS = {
    "similarity": "sentence-similarity",
    "fill-mask": "fill-mask",
    "classify": "text-classification",
    "generate": "text-generation",
}

FLAGS = {"from_": "--from", "targets": "--word"}  # for error messages


def add_record_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --script, --from, --task, --word, --model, --save, --device, --json."""
    parser.add_argument("text", nargs="*", metavar="TEXT", help="a text in quotes, or two")
    parser.add_argument("--script", metavar="FILE", help="a Python file to record instead")
    parser.add_argument(
        "--from", dest="from_", metavar="RECORD", help="a record that --save or trace.save wrote"
    )
    parser.add_argument(
        "--task", choices=TASKS, help="what to compute (default: what texts and model suggest)"
    )
    parser.add_argument(
        "--word", metavar="WORD", help="for [MASK]: step through -log p of this word"
    )
    add_model_argument(parser)
    add_untrained_argument(parser)
    parser.add_argument("--save", metavar="RECORD", help="save the record to a file")
    add_device_argument(parser)
    add_json_argument(parser)


def recorded(args: argparse.Namespace) -> Run:
    """Return the record that the arguments ask for."""
    given = [bool(args.text), args.script is not None, args.from_ is not None]
    if sum(given) != 1:
        problem = "no text given" if not any(given) else "too much is given"
        raise ValueError(f"{problem}: give TEXT in quotes, or --script FILE, or --from RECORD")
    if args.word is not None and not args.text:
        raise ValueError("--word needs a TEXT with [MASK]")
    run = _run(args)
    if args.save is not None:
        run.trace.save(args.save)
    return run


def _run(args: argparse.Namespace) -> Run:
    if args.script is not None:
        return record_script(args.script)
    if args.from_ is not None:
        trace = load_trace(args.from_)
        title = trace.title or os.path.basename(args.from_)
        return Run(trace, title, trace.loss, trace.tokens)
    folder = resolve(args.model, WEIGHT_FILES)
    task = TASKS[args.task] if args.task else task_of(args.text, _architectures(folder))
    pipe = trained(lambda: pipeline(task, folder, device=args.device), task, args)
    return record_texts(pipe, args.text, args.word)


def _architectures(folder: os.PathLike[str]) -> list[str]:
    """Return the names of the classes of a folder's weights; none if its config is elsewhere."""
    if not os.path.isfile(os.path.join(folder, "config.json")):
        return []
    return AutoConfig.from_pretrained(folder).architectures or []
