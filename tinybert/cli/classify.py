"""`tinybert classify`: the class of each text."""

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
from tinybert.pipelines.text_classification import FUNCTIONS

DETAILS = """\
Gives each text its class, or a number, with a model that was trained for it
(BertForSequenceClassification). Shows all classes of a text, the likeliest
first, or the --top-k; of several texts the best class of each, unless --top-k
says otherwise. What a model cannot read of a long text is cut off."""

EXAMPLE = """\
  $ tinybert classify "What a film!" --model my-sentiment-model
  What a film!

  label      score
  positive  0.9874  ███████████████████████▋
  negative  0.0126  ▎

  $ tinybert classify --file reviews.txt --model my-sentiment-model --json
  $ tinybert classify "Who?" --pair "Me." --model my-pair-model"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TEXT, --file, --pair, --model, --top-k, --function, --plot, --device, --json."""
    add_text_arguments(parser)
    parser.add_argument("--pair", metavar="TEXT", help="a second text, the same for each")
    parser.add_argument("--top-k", type=int, metavar="N", help="classes that are shown")
    parser.add_argument(
        "--function", choices=FUNCTIONS, help="what makes scores of logits (default: the model's)"
    )
    add_plot_argument(parser, "a chart")
    add_task_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Classify, and show the classes of each text."""
    plot = plot_file(args)
    texts = read_texts(args)
    if plot is not None:
        check_panels(len(texts))
    options = {"top_k": args.top_k, "function_to_apply": args.function}
    classify = load_task("text-classification", args, truncation=True, **options)
    inputs = [t if args.pair is None else {"text": t, "text_pair": args.pair} for t in texts]
    found = classify(inputs)
    if plot is not None:
        panels = [
            Panel(text, [(entry["label"], entry["score"]) for entry in labels])
            for text, labels in zip(texts, found, strict=True)
        ]
        save_bars(plot, panels, "score")
    if args.json:
        results = [{"text": t, "labels": labels} for t, labels in zip(texts, found, strict=True)]
        print_json({"model": args.model, "pair": args.pair, "results": results})
    elif len(texts) > 1 and args.top_k in (None, 1):
        print("\n".join(_list(texts, found)))
    else:
        shown = (_shown(t, labels) for t, labels in zip(texts, found, strict=True))
        print("\n\n".join("\n".join(lines) for lines in shown))
    if plot is not None:
        print(f"chart: {plot}", file=sys.stderr)
    return 0


def _shown(text: str, labels: list[dict[str, Any]]) -> list[str]:
    rows = [[e["label"], f"{e['score']:.4f}", bar(e["score"])] for e in labels]
    return [shorten(text, terminal_width()), "", *table(["label", "score", ""], rows, "lrl")]


def _list(texts: list[str], found: list[list[dict[str, Any]]]) -> list[str]:
    """A line for each text."""
    labels = [labels[0]["label"] for labels in found]
    room = max(8, terminal_width() - max(map(len, [*labels, "label"])) - 12)
    rows = [
        [label, f"{entries[0]['score']:.4f}", shorten(text, room)]
        for label, entries, text in zip(labels, found, texts, strict=True)
    ]
    return table(["label", "score", "text"], rows, "lrl")


COMMAND = Command("classify", "Give each text its class", DETAILS, EXAMPLE, add_arguments, run)
