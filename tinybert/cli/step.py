"""`tinybert step`: walk through all operations of a model on a text, forwards and backwards."""

from __future__ import annotations

import argparse
import os
import sys

from tinybert.cli.command import Command
from tinybert.cli.record_arguments import FLAGS, add_record_arguments, recorded
from tinybert.cli.terminal import print_json
from tinybert.trace.terminal.listing import as_data, listing
from tinybert.trace.terminal.screen import show
from tinybert.trace.terminal.session import Session

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
  $ tinybert step "She opened the [MASK] and walked in." --word window
  $ tinybert step --script train.py

  $ tinybert step "A man eats food." --list | grep "layer.0.*Softmax"
   15 forward   encoder.layer.0.attention.self.Softmax  x 2x12x7x7 -> y ...
  268 backward  encoder.layer.0.attention.self.Softmax  dy 2x12x7x7 -> ..."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --list, and the arguments that say what is recorded."""
    add_record_arguments(parser)
    parser.add_argument("--list", action="store_true", help="print one line for each step")


def run(args: argparse.Namespace) -> int:
    """Record, then show the steps."""
    found = recorded(args)
    if args.json:
        print_json(as_data(found))
    elif args.list or not _is_interactive():
        print("\n".join([f"{found.title}: {len(found.trace)} steps", *listing(found)]))
    else:
        show(Session(found), getattr(sys.stdout, "raw", sys.stdout))
    return 0


def _is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run, FLAGS)
