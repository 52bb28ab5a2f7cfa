"""`tinybert similarity`: which texts mean the same, as a table of cosines, pairs or a heat map."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tinybert.cli.command import (
    Command,
    add_json_argument,
    add_model_argument,
    add_text_arguments,
    optional,
    read_texts,
)
from tinybert.cli.heatmap import check_plot, save_heatmap
from tinybert.cli.terminal import print_json, shorten, terminal_width
from tinybert.embedding import SentenceEmbedder, similarity
from tinybert.fetch import model_folder

LARGEST_TABLE = 12  # texts; more of them are shown as pairs
CELL = 5  # columns of a number, "-0.05"
SHOWN_PAIRS = 10

DETAILS = """\
The cosine between the vectors of every two texts: 1 for the same meaning,
about 0 for none in common. Up to 12 texts are shown as a table, of more the
closest pairs. --plot draws a heat map (pip install "tinybert[plot]")."""

EXAMPLE = """\
  $ tinybert similarity "A cat sat." "A kitten was sitting." "Rain again."
         1     2     3
   1  1.00  0.70  0.08
   2  0.70  1.00  0.02
   3  0.08  0.02  1.00

   1  A cat sat.
   2  A kitten was sitting.
   3  Rain again.

  $ tinybert similarity --file sentences.txt --plot similarity.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TEXT, --file, --model, --plot, --json."""
    add_text_arguments(parser)
    add_model_argument(parser)
    parser.add_argument("--plot", metavar="FILE", help="write a heat map: .png, .svg or .pdf")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Embed the texts, and show how alike they are."""
    texts = read_texts(args)
    if len(texts) < 2:
        raise ValueError("similarity needs at least two texts, got one")
    if args.plot is not None:
        optional("matplotlib", "plot", "--plot")
        check_plot(Path(args.plot), len(texts))
    folder = model_folder(args.model)
    cosines = similarity(SentenceEmbedder.from_pretrained(folder).encode(texts))
    if args.plot is not None:
        save_heatmap(Path(args.plot), texts, cosines)
    if args.json:
        print_json(_as_json(str(folder), texts, cosines, args.plot))
    elif len(texts) <= min(LARGEST_TABLE, (terminal_width() - 3) // (CELL + 1)):
        _print_table(cosines)
        print("\n" + "\n".join(_legend(texts)))
    else:
        print("\n".join(_pairs_shown(texts, cosines)))
    if args.plot is not None:
        print(f"heat map: {args.plot}", file=sys.stderr)
    return 0


def closest_pairs(cosines: np.ndarray, count: int) -> list[tuple[int, int]]:
    """The `count` pairs (i, j), i < j, of the largest cosines, the closest first."""
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
    """The numbered table; coloured with rich where that is installed and a terminal shows it."""
    numbers = [str(i) for i in range(1, len(cosines) + 1)]
    # + 0.0 turns -0.00 into 0.00
    cells = [[f"{round(float(x), 2) + 0.0:.2f}" for x in row] for row in cosines]
    if not (sys.stdout.isatty() and find_spec("rich")):
        for number, row in zip(["", *numbers], [numbers, *cells], strict=True):
            print(f"{number:>2}" + "".join(f"{cell:>{CELL + 1}}" for cell in row))
        return
    from rich.console import Console
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
    Console().print(shown)


def _style(cosine: float) -> str:
    """Colours of the terminal's own theme, so that light and dark ones are both readable."""
    return "bold green" if cosine >= 0.6 else "green" if cosine >= 0.3 else "dim"


def _legend(texts: list[str]) -> list[str]:
    room = terminal_width() - 5
    return [f"{i:>2}  {shorten(text, room)}" for i, text in enumerate(texts, 1)]


def _pairs_shown(texts: list[str], cosines: np.ndarray) -> list[str]:
    pairs = closest_pairs(cosines, SHOWN_PAIRS)
    total = len(texts) * (len(texts) - 1) // 2
    digits = len(str(len(texts)))
    room = terminal_width() - 8 - digits
    lines = [f"{len(texts)} texts; the {len(pairs)} closest of {total:,} pairs:"]
    for i, j in pairs:
        lines += ["", f"{cosines[i, j]:5.2f}  {i + 1:>{digits}}  {shorten(texts[i], room)}"]
        lines += [f"       {j + 1:>{digits}}  {shorten(texts[j], room)}"]
    return lines


COMMAND = Command(
    "similarity", "Say which texts mean the same", DETAILS, EXAMPLE, add_arguments, run
)
