"""`tinybert classify`: text classification."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tinybert.cli.bar_charts import BarChart, check_charts, save_bar_charts
from tinybert.cli.command import Command, add_text_arguments, read_texts
from tinybert.cli.figures import figure_path
from tinybert.cli.pipeline_arguments import add_pipeline_arguments, add_plot_argument, load_pipeline
from tinybert.cli.terminal import print_json, score_bar, shorten, table, terminal_width
from tinybert.pipelines.text_classification import FUNCTIONS

DETAILS = """\
Predicts the class of each text, or a number, with a model trained for sequence
classification (BertForSequenceClassification). Without --model it is the
sentiment. One text is shown with all classes, most likely first; several texts
with the best class of each. --top-k N shows the N best classes of each text. A
text that is longer than the model's limit is truncated."""

EXAMPLE = """\
  $ tinybert classify "What a film!"
  What a film!

  label      score
  positive  0.7495  ██████████████████
  neutral   0.1680  ████
  negative  0.0825  ██

  $ tinybert classify --file reviews.txt --json
  $ tinybert classify "Who?" --pair "Me." --model my-pair-model"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --file, --pair, --model, --top-k, --function, --plot, --device, --json."""
    add_text_arguments(parser)
    parser.add_argument("--pair", metavar="TEXT", help="a second text for each text")
    parser.add_argument("--top-k", type=int, metavar="N", help="number of classes to show")
    parser.add_argument(
        "--function", choices=FUNCTIONS, help="how logits become scores (default: by the config)"
    )
    add_plot_argument(parser, "a bar chart")
    add_pipeline_arguments(parser, "text-classification")


def run(args: argparse.Namespace) -> int:
    """Classify the texts, and print the classes of each."""
    plot = figure_path("--plot", args.plot)
    texts = read_texts(args)
    if plot is not None:
        check_charts(len(texts))
    options = {"top_k": args.top_k, "function_to_apply": args.function}
    classify = load_pipeline("text-classification", args, truncation=True, **options)
    inputs = [t if args.pair is None else {"text": t, "text_pair": args.pair} for t in texts]
    labels_of_texts = classify(inputs)
    results = list(zip(texts, labels_of_texts, strict=True))
    if plot is not None:
        charts = [
            BarChart(text, [(entry["label"], entry["score"]) for entry in labels])
            for text, labels in results
        ]
        save_bar_charts(plot, charts, "score")
    if args.json:
        as_dicts = [{"text": text, "labels": labels} for text, labels in results]
        print_json({"model": args.model, "pair": args.pair, "results": as_dicts})
    elif len(texts) > 1 and args.top_k in (None, 1):
        print("\n".join(_best_classes(texts, labels_of_texts)))
    else:
        print("\n\n".join("\n".join(_all_classes(text, labels)) for text, labels in results))
    if plot is not None:
        print(f"chart: {plot}", file=sys.stderr)
    return 0


def _all_classes(text: str, labels: list[dict[str, Any]]) -> list[str]:
    rows = [[e["label"], f"{e['score']:.4f}", score_bar(e["score"])] for e in labels]
    return [shorten(text, terminal_width()), "", *table(["label", "score", ""], rows, "lrl")]


def _best_classes(texts: list[str], labels_of_texts: list[list[dict[str, Any]]]) -> list[str]:
    """Return a table with one line per text."""
    best = [labels[0] for labels in labels_of_texts]
    longest = max(len(name) for name in ["label", *(entry["label"] for entry in best)])
    width = max(8, terminal_width() - longest - 12)
    rows = [
        [entry["label"], f"{entry['score']:.4f}", shorten(text, width)]
        for entry, text in zip(best, texts, strict=True)
    ]
    return table(["label", "score", "text"], rows, "lrl")


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
