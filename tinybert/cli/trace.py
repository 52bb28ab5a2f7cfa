"""`tinybert trace`: record a model on texts, and save its steps as a page or as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinybert.cli.command import Command, check_output_file
from tinybert.cli.record_arguments import FLAGS as RECORD_FLAGS
from tinybert.cli.record_arguments import add_record_arguments, recorded
from tinybert.cli.terminal import human_size, print_json
from tinybert.cli.trace_pictures import FLAGS, add_picture_arguments, picture_paths, save_picture

DETAILS = """\
Records every operation of a model on one text or two, forwards and backwards,
and saves a page that shows them: formulas, arrays as heat maps and as numbers,
attention heads, the graph, and how the gradient comes down. The page is one
file, which any browser opens without a network.

--png and --svg save one picture of the page, --picture: the staircase of all
steps, attention (all heads, or those of --layer and --head), the norms of the
gradients, or the arrays of a step, by its number.

What is differentiated is the cosine similarity of two texts, or of one text: -log
p of the most likely word for [MASK], -log p of the predicted label, or the
length of the embedding; what the model can. See also `tinybert step`."""

EXAMPLE = """\
  $ tinybert trace "The dog slept because it was tired." --html dog.html
  length of the embedding = 5.9232: 268 steps
  dog.html  8.1 MB

  $ tinybert trace "The dog slept because it was tired." --svg head.svg \\
      --picture attention --layer 3 --head 5
  $ tinybert trace "The dog slept because it was tired." --png softmax.png \\
      --picture 75 --head 5"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --html, and the arguments of pictures and of what is recorded."""
    add_record_arguments(parser)
    parser.add_argument("--html", metavar="FILE", help="save the page: .html")
    add_picture_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Record the model, and save what is asked for."""
    pictures = picture_paths(args)
    if args.html is None and not pictures:
        raise ValueError("nothing to save: give --html FILE, or --png or --svg with --picture")
    if args.html is not None:
        check_output_file("--html", Path(args.html), (".html", ".htm"))
    found = recorded(args)
    for path in pictures:
        save_picture(path, found, args)
    if args.html is not None:
        found.trace.html(args.html, " / ".join(args.text) or found.title, found.tokens)
    files = {flag: getattr(args, flag) for flag in ("html", *FLAGS) if getattr(args, flag)}
    sizes = {flag: Path(name).stat().st_size for flag, name in files.items()}
    if args.json:
        about = {"title": found.title, "loss": found.loss, "steps": len(found.trace)}
        print_json({**files, "bytes": sizes, **about})
    else:
        saved = [f"{name}  {human_size(sizes[flag])}" for flag, name in files.items()]
        print("\n".join([f"{found.title}: {len(found.trace)} steps", *saved]))
    return 0


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run, RECORD_FLAGS)
