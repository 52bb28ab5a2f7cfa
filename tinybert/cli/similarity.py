"""`tinybert similarity`: cosine similarity of texts, as a table, as pairs, or as a heat map."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec

import numpy as np

from tinybert.cli.command import (
    Command,
    add_json_argument,
    add_model_argument,
    add_text_arguments,
    read_texts,
)
from tinybert.cli.figures import figure_path
from tinybert.cli.heatmap import check_heatmap, save_heatmap
from tinybert.cli.output import console
from tinybert.cli.terminal import print_json, shorten, terminal_width
from tinybert.embedding import SentenceEmbedder, similarity
from tinybert.hub import WEIGHT_FILES, resolve

MAX_TABLE_TEXTS = 12  # more texts are shown as pairs
CELL = 5  # columns of a number, "-0.05"
SHOWN_PAIRS = 10

DETAILS = """\
Computes the cosine similarity of the sentence embeddings of every two texts: 1
for the same meaning, about 0 for unrelated texts. Up to 12 texts are shown as
a table, for more texts the 10 most similar pairs. --plot draws a heat map
(pip install "tinybert[plot]")."""

EXAMPLE = """\
  $ tinybert similarity "A cat sat." "A kitten was sitting." "Rain again."
         1     2     3
   1  1.00  0.69  0.14
   2  0.69  1.00  0.04
   3  0.14  0.04  1.00

   1  A cat sat.
   2  A kitten was sitting.
   3  Rain again.

  $ tinybert similarity --file sentences.txt --plot similarity.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --file, --model, --plot, --json."""
    add_text_arguments(parser)
    add_model_argument(parser)
    parser.add_argument("--plot", metavar="FILE", help="save a heat map: .png, .svg or .pdf")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Embed the texts, and print their similarities."""
    texts = read_texts(args)
    if len(texts) < 2:
        raise ValueError("similarity needs at least two texts, got one")
    plot = figure_path("--plot", args.plot)
    if plot is not None:
        check_heatmap(len(texts))
    folder = resolve(args.model, WEIGHT_FILES)
    cosines = similarity(SentenceEmbedder.from_pretrained(folder).encode(texts))
    if plot is not None:
        save_heatmap(plot, texts, cosines)
    if args.json:
        print_json(_as_json(str(folder), texts, cosines, args.plot))
    elif len(texts) <= min(MAX_TABLE_TEXTS, (terminal_width() - 3) // (CELL + 1)):
        _print_table(cosines)
        print("\n" + "\n".join(_legend(texts)))
    else:
        print("\n".join(_pair_lines(texts, cosines)))
    if args.plot is not None:
        print(f"heat map: {args.plot}", file=sys.stderr)
    return 0


def closest_pairs(cosines: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Return the `count` pairs (i, j), i < j, with the largest cosines, largest first."""
    first, second = np.triu_indices(len(cosines), k=1)
    order = np.argsort(-cosines[first, second], kind="stable")[:count]
    return [(int(first[k]), int(second[k])) for k in order]


def _as_json(folder: str, texts: list[str], cosines: np.ndarray, plot: str | None) -> dict:
    pairs = closest_pairs(cosines, SHOWN_PAIRS)
    result = {
        "model": folder,
        "texts": texts,
        "similarity": [[round(float(x), 6) for x in row] for row in cosines],
        "closest": [
            {"pair": [i, j], "similarity": round(float(cosines[i, j]), 6)} for i, j in pairs
        ],
    }
    return result if plot is None else result | {"plot": plot}


def _print_table(cosines: np.ndarray) -> None:
    """Print the table of cosines; in a terminal with colours, if rich is installed."""
    numbers = [str(i) for i in range(1, len(cosines) + 1)]
    # + 0.0 turns -0.00 into 0.00
    cells = [[f"{round(float(x), 2) + 0.0:.2f}" for x in row] for row in cosines]
    if not (sys.stdout.isatty() and find_spec("rich")):
        for number, row in zip(["", *numbers], [numbers, *cells], strict=True):
            print(f"{number:>2}" + "".join(f"{cell:>{CELL + 1}}" for cell in row))
        return
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    shown.add_column("", justify="right", style="bold", min_width=2)
    for number in numbers:
        shown.add_column(number, justify="right", min_width=CELL)
    for i, row in enumerate(cells):
        styled = [
            cell if i == j else f"[{_style(cosines[i, j])}]{cell}" for j, cell in enumerate(row)
        ]
        shown.add_row(numbers[i], *styled)
    console().print(shown)


def _style(cosine: float) -> str:
    """Return a colour of the terminal's theme: readable on a light and on a dark background."""
    return "bold green" if cosine >= 0.6 else "green" if cosine >= 0.3 else "dim"


def _legend(texts: list[str]) -> list[str]:
    width = terminal_width() - 5
    return [f"{i:>2}  {shorten(text, width)}" for i, text in enumerate(texts, 1)]


def _pair_lines(texts: list[str], cosines: np.ndarray) -> list[str]:
    pairs = closest_pairs(cosines, SHOWN_PAIRS)
    total = len(texts) * (len(texts) - 1) // 2
    digits = len(str(len(texts)))
    width = terminal_width() - 8 - digits
    lines = [f"{len(texts)} texts; {len(pairs)} most similar of {total:,} pairs:"]
    for i, j in pairs:
        lines += ["", f"{cosines[i, j]:5.2f}  {i + 1:>{digits}}  {shorten(texts[i], width)}"]
        lines += [f"       {j + 1:>{digits}}  {shorten(texts[j], width)}"]
    return lines


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
