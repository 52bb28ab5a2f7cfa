"""`tinybert trace`: record a model on texts, and save every step as one HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinybert.cli.command import Command, check_output_file
from tinybert.cli.record_arguments import FLAGS, add_record_arguments, recorded
from tinybert.cli.terminal import human_size, print_json

DETAILS = """\
Records every operation of a model on one text or two, forwards and backwards,
and saves a page that shows them: formulas, arrays as heat maps and as numbers,
attention heads, the graph, and how the gradient comes down. The page is one
file, which any browser opens without a network.

What is differentiated is the cosine similarity of two texts, or of one text: -log
p of the most likely word for [MASK], -log p of the predicted label, or the
length of the embedding; what the model can. See also `tinybert step`."""

EXAMPLE = """\
  $ tinybert trace "The dog slept because it was tired." --html dog.html
  length of the embedding = 5.9232: 268 steps
  dog.html  8.1 MB"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --html, and the arguments that say what is recorded."""
    add_record_arguments(parser)
    parser.add_argument("--html", metavar="FILE", required=True, help="the page to save: .html")


def run(args: argparse.Namespace) -> int:
    """Record the model, and save the page."""
    path = Path(args.html)
    check_output_file("--html", path, (".html", ".htm"))
    found = recorded(args)
    found.trace.html(path, " / ".join(args.text) or found.title, found.tokens)
    size = path.stat().st_size
    if args.json:
        print_json(
            {"html": args.html, "bytes": size, "title": found.title, "steps": len(found.trace)}
        )
    else:
        print(f"{found.title}: {len(found.trace)} steps\n{path}  {human_size(size)}")
    return 0


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run, FLAGS)
