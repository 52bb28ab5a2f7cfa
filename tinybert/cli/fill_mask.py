"""`tinybert fill-mask`: which words may stand where a text says [MASK]."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tinybert.cli.bar_charts import Panel, check_panels, save_bars
from tinybert.cli.command import Command, add_text_arguments, read_texts
from tinybert.cli.pipeline_arguments import (
    add_plot_argument,
    add_task_arguments,
    bar,
    load_task,
    plot_file,
)
from tinybert.cli.terminal import print_json, shorten, table, terminal_width

DETAILS = """\
Guesses the words that [MASK] stands for, with their probabilities. Several
masks are guessed each by itself. --target compares given words only; give it
once for each. The model must have been trained for it (BertForMaskedLM)."""

EXAMPLE = """\
  $ tinybert fill-mask "Paris is the [MASK] of France." --model my-bert
  Paris is the [MASK] of France.

  word      score
  capital  0.9971  ███████████████████████▉
  heart    0.0008
  center   0.0004

  $ tinybert fill-mask "He [MASK] home." --model my-bert --target went
  $ tinybert fill-mask "A [MASK] sat." --model my-bert --plot guess.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TEXT, --file, --model, --top-k, --target, --plot, --device, --json."""
    add_text_arguments(parser)
    parser.add_argument("--top-k", type=int, default=5, metavar="N", help="words (default: 5)")
    parser.add_argument("--target", action="append", metavar="WORD", help="compare these alone")
    add_plot_argument(parser, "a chart")
    add_task_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Guess, and show the guesses for each mask of each text."""
    plot = plot_file(args)
    texts = read_texts(args)
    fill = load_task("fill-mask", args, top_k=args.top_k, targets=args.target)
    found = [_by_mask(fill(text)) for text in texts]
    charts = [
        (f"{text}{_which(i, len(masks))}", guesses)
        for text, masks in zip(texts, found, strict=True)
        for i, guesses in enumerate(masks)
    ]
    if plot is not None:
        check_panels(len(charts))
        bars = [[(g["token_str"], g["score"]) for g in guesses] for _, guesses in charts]
        titles = [title for title, _ in charts]
        save_bars(plot, [Panel(*p) for p in zip(titles, bars, strict=True)], "probability")
    if args.json:
        results = [{"text": t, "masks": masks} for t, masks in zip(texts, found, strict=True)]
        print_json({"model": args.model, "results": results})
    else:
        print("\n\n".join("\n".join(_shown(*chart)) for chart in charts))
    if plot is not None:
        print(f"chart: {plot}", file=sys.stderr)
    return 0


def _by_mask(guesses: list[Any]) -> list[list[dict[str, Any]]]:
    """The guesses for each mask, also if there is only one."""
    return guesses if isinstance(guesses[0], list) else [guesses]


def _which(mask: int, count: int) -> str:
    return "" if count == 1 else f"  (mask {mask + 1} of {count})"


def _shown(title: str, guesses: list[dict[str, Any]]) -> list[str]:
    rows = [[g["token_str"], f"{g['score']:.4f}", bar(g["score"])] for g in guesses]
    return [shorten(title, terminal_width()), "", *table(["word", "score", ""], rows, "lrl")]


COMMAND = Command(
    "fill-mask", "Guess the words behind [MASK]", DETAILS, EXAMPLE, add_arguments, run
)
