"""`tinybert compare`: compare our BERT with that of transformers, layer by layer."""

from __future__ import annotations

import argparse

from tinybert.cli.command import Command, add_json_argument, add_model_argument, optional
from tinybert.comparison import compare
from tinybert.hub import WEIGHT_FILES, resolve
from tinybert.hub_cache import FETCHED
from tinybert.models import BertModel
from tinybert.tokenizers import BertTokenizer

TEXT = "The quick brown fox jumps over the lazy dog."

DETAILS = """\
Loads the model in tinybert and in transformers (eager attention, float32),
runs both on TEXT and compares the output of every layer. The exit code is 1
if they differ. --float64 also runs both in float64, which distinguishes
rounding from a bug: rounding errors disappear, a bug does not. Needs torch
and transformers: pip install "tinybert[test]"."""

EXAMPLE = """\
  $ tinybert compare "Hello, world!"
    # module                      class      shape    max abs max rel verdict
    0 embeddings.word_embeddings  Embedding  1x6x384  0.0e+00 0.0e+00 ok
  ...
  All 106 outputs agree.
  ..."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --model, --float64, --json."""
    parser.add_argument("text", nargs="?", default=TEXT, metavar="TEXT", help=f'default: "{TEXT}"')
    add_model_argument(parser, FETCHED)
    parser.add_argument("--float64", action="store_true", help="also compare in float64")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run both models and print the comparison; return 1 if they differ."""
    transformers = optional("transformers", "test", "compare")
    optional("torch", "test", "compare")
    folder = resolve(args.model, WEIGHT_FILES)
    ours = BertModel.from_pretrained(folder)
    theirs = transformers.BertModel.from_pretrained(
        folder, attn_implementation="eager", local_files_only=True
    )
    inputs = BertTokenizer.from_pretrained(folder)(args.text, truncation=True, return_tensors="np")
    comparison = compare(ours, theirs, dict(inputs), float64=args.float64)
    print(comparison.to_json() if args.json else comparison)
    return 0 if comparison.ok else 1


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
