"""`tinybert step`: walk through all operations of a model on a text, forwards and backwards."""

from __future__ import annotations

import argparse
import os
import sys

from tinybert.cli.command import (
    Command,
    add_device_argument,
    add_json_argument,
    add_model_argument,
)
from tinybert.cli.pipeline_arguments import add_untrained_argument, trained
from tinybert.cli.terminal import print_json
from tinybert.models import AutoConfig
from tinybert.pipelines import pipeline
from tinybert.pipelines.factory import find_folder
from tinybert.trace import load_trace
from tinybert.trace.runs import Run, record_script, record_texts, task_of
from tinybert.trace.terminal.listing import as_data, listing
from tinybert.trace.terminal.screen import show
from tinybert.trace.terminal.session import Session

TASKS = {
    "similarity": "sentence-similarity",
    "fill-mask": "fill-mask",
    "classify": "text-classification",
    "generate": "text-generation",
}

DETAILS = """\
Runs a model on a text, and its backward pass, and shows every operation with
its formula, its line of code and its numbers. Keys: n next step, b back, i and
o into and out of a module, arrows move in the tensor, ? all keys, q quit. At
the end of the forward half it turns round, and the gradient of the loss comes
down.

The loss is the cosine similarity of two texts, or of one text: -log p of the
most likely word for [MASK], -log p of the predicted label, or the length of
the sentence embedding; what the model can. --script steps through a Python
file of yours, whose loss.backward() makes the second half.

Piped, with --list or with TERM=dumb it prints one line for each step. NO_COLOR
turns colours off."""

EXAMPLE = """\
  $ tinybert step "A man eats food." "Someone is having lunch."
  $ tinybert step "Paris is the [MASK] of France." --model my-bert
  $ tinybert step --script train.py

  $ tinybert step "A man eats food." --list | grep "layer.0.*Softmax"
   15 forward   encoder.layer.0.attention.self.Softmax  x 1x12x7x7 -> y ...
  253 backward  encoder.layer.0.attention.self.Softmax  dy 1x12x7x7 -> ..."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --script, --from, --task, --word, --model, --save, --list, --device, --json."""
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
    parser.add_argument("--list", action="store_true", help="print one line for each step")
    add_device_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Record, then show the steps."""
    recorded = _recorded(args)
    if args.save is not None:
        recorded.trace.save(args.save)
    if args.json:
        print_json(as_data(recorded))
    elif args.list or not _is_interactive():
        print("\n".join([f"{recorded.title}: {len(recorded.trace)} steps", *listing(recorded)]))
    else:
        show(Session(recorded), getattr(sys.stdout, "raw", sys.stdout))
    return 0


def _recorded(args: argparse.Namespace) -> Run:
    given = [bool(args.text), args.script is not None, args.from_ is not None]
    if sum(given) != 1:
        problem = "no text given" if not any(given) else "too much is given"
        raise ValueError(f"{problem}: give TEXT in quotes, or --script FILE, or --from RECORD")
    if args.word is not None and not args.text:
        raise ValueError("--word needs a TEXT with [MASK]")
    if args.script is not None:
        return record_script(args.script)
    if args.from_ is not None:
        return Run(load_trace(args.from_), os.path.basename(args.from_))
    folder = find_folder(args.model)
    task = TASKS[args.task] if args.task else task_of(args.text, _architectures(folder))
    pipe = trained(lambda: pipeline(task, folder, device=args.device), task, args)
    return record_texts(pipe, args.text, args.word)


def _architectures(folder: os.PathLike[str]) -> list[str]:
    """Return the names of the classes of a folder's weights; none if its config is elsewhere."""
    if not os.path.isfile(os.path.join(folder, "config.json")):
        return []
    return AutoConfig.from_pretrained(folder).architectures or []


def _is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run, {"from_": "--from", "targets": "--word"})
