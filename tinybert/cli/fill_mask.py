"""`tinybert fill-mask`: predict masked words."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tinybert.cli.bar_charts import BarChart, check_charts, save_bar_charts
from tinybert.cli.command import Command, add_text_arguments, read_texts
from tinybert.cli.figures import figure_path
from tinybert.cli.pipeline_arguments import add_pipeline_arguments, add_plot_argument, load_pipeline
from tinybert.cli.terminal import print_json, score_bar, shorten, table, terminal_width

DETAILS = """\
Predicts the words that [MASK] replaces, with their probabilities, using a
masked language model (BertForMaskedLM). Several masks are predicted
independently. --target restricts the prediction to given words; repeat it for
each word."""

EXAMPLE = """\
  $ tinybert fill-mask "She opened the [MASK] and walked in." --top-k 3
  She opened the [MASK] and walked in.

  word    score
  room   0.0824  ██
  door   0.0408  █
  house  0.0343  ▉

  $ tinybert fill-mask "He [MASK] home." --target went
  $ tinybert fill-mask "A [MASK] sat." --plot words.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --file, --model, --top-k, --target, --plot, --device, --json."""
    add_text_arguments(parser)
    parser.add_argument(
        "--top-k", type=int, default=5, metavar="N", help="number of words per mask (default: 5)"
    )
    parser.add_argument(
        "--target", action="append", metavar="WORD", help="score only this word; can be repeated"
    )
    add_plot_argument(parser, "a bar chart")
    add_pipeline_arguments(parser, "fill-mask")


def run(args: argparse.Namespace) -> int:
    """Predict the masked words, and print the predictions for each mask of each text."""
    plot = figure_path("--plot", args.plot)
    texts = read_texts(args)
    fill = load_pipeline("fill-mask", args, top_k=args.top_k, targets=args.target)
    results = [(text, _by_mask(fill(text))) for text in texts]
    predictions = [
        (f"{text}{_mask_number(i, len(masks))}", words)
        for text, masks in results
        for i, words in enumerate(masks)
    ]
    if plot is not None:
        check_charts(len(predictions))
        charts = [
            BarChart(title, [(word["token_str"], word["score"]) for word in words])
            for title, words in predictions
        ]
        save_bar_charts(plot, charts, "probability")
    if args.json:
        as_dicts = [{"text": text, "masks": masks} for text, masks in results]
        print_json({"model": args.model, "results": as_dicts})
    else:
        print("\n\n".join("\n".join(_table(*prediction)) for prediction in predictions))
    if plot is not None:
        print(f"chart: {plot}", file=sys.stderr)
    return 0


def _by_mask(predictions: list[Any]) -> list[list[dict[str, Any]]]:
    """Return a list of predictions for each mask, also for a single mask."""
    return predictions if isinstance(predictions[0], list) else [predictions]


def _mask_number(mask: int, count: int) -> str:
    return "" if count == 1 else f"  (mask {mask + 1} of {count})"


def _table(title: str, words: list[dict[str, Any]]) -> list[str]:
    rows = [[word["token_str"], f"{word['score']:.4f}", score_bar(word["score"])] for word in words]
    return [shorten(title, terminal_width()), "", *table(["word", "score", ""], rows, "lrl")]


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
