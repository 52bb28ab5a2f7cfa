"""`tinybert plot`: pictures of a model, of its training and of its cost."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from tinybert.autograd import no_grad
from tinybert.bench.sequence_length import FIT_FROM, LENGTHS, MODELS, Cost, measure
from tinybert.checks import check, check_integer
from tinybert.cli.attention import PAGE, show_attention
from tinybert.cli.command import (
    Command,
    add_device_argument,
    add_json_argument,
    read_texts,
)
from tinybert.cli.embedding_map import show_embeddings
from tinybert.cli.figures import SUFFIXES, figure_path
from tinybert.cli.graph_chart import show_graph
from tinybert.cli.loss_curves import show_losses
from tinybert.cli.mega_charts import save_costs, save_kernels
from tinybert.cli.terminal import print_json, table, terminal_width, wrap
from tinybert.models import MegaConfig, MegaModel

OF_A_MODEL = ("attention", "embeddings", "graph")
ONLY = {
    "layer": "attention",
    "head": "attention",
    "token": "attention",
    "file": "embeddings",
    "depth": "graph",
}

DETAILS = """\
attention   shows what each head attends to in TEXT: all layers and heads, or
        those of --layer and --head (numbered from 0) with the tokens. The
        table gives the largest weight of each head between two words that are
        not neighbours, with --token those of this token. --output F.html saves
        a page instead of a chart: all layers and heads, and one of them large.
embeddings  shows texts as points in the plane: TEXT ... or the lines of
        --file. The plane is that of the first two principal components of
        the sentence embeddings; texts of similar meaning are near.
graph       shows what runs forward for TEXT: modules and operations as boxes,
        arrays with their shapes as arrows. --depth is the number of modules
        inside of each other that are opened (default: about 30 boxes).
loss    draws the losses of training runs in one picture: MODEL ... are the
        folders that pretrain or finetune wrote, also while they run. The table
        gives the loss at the end and the best one of the evaluations.
ema     shows the kernels of MEGA's exponential moving averages: the weight of
        an earlier token against its distance (lag). MODEL is a folder or a
        name on the Hub; the default is a new model of the default size, whose
        weights are random. The table gives the number of lags that hold 90 % of
        a kernel's weight, for each layer: the minimum over the features
        (shortest), the median (half) and the maximum (longest).
length  measures time and memory of the forward and backward pass of one layer
        against the number of tokens, for full attention, MEGA, and MEGA with
        chunks, and fits length^exponent. Lengths whose pass would take longer
        than --limit are left out.

--output also saves a chart (pip install "tinybert[plot]")."""

EXAMPLE = """\
  $ tinybert plot attention "The cat slept because it was tired." \\
      --output heads.png
  $ tinybert plot attention "The cat slept because it was tired." \\
      --layer 2 --head 5 --output head.png
  $ tinybert plot embeddings --file sentences.txt --output map.svg
  $ tinybert plot graph "The cat slept." --depth 2 --output graph.pdf

  $ tinybert plot loss my-bert my-other-bert --output loss.png
  $ tinybert plot ema --output kernels.png
  layer  direction  shortest  half  longest
      0  back              5     9       17
      0  ahead             5     9       21
  ...
  lags that hold 90 % of a kernel's weight, of 128 lags

  $ tinybert plot ema my-mega --steps 256
  $ tinybert plot length --lengths 512 2048 8192 --output length.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to draw, MODEL or TEXT, --output, and the options of each."""
    parser.add_argument("what", choices=(*OF_A_MODEL, "loss", "ema", "length"), help="what to show")
    parser.add_argument(
        "inputs", nargs="*", metavar="TEXT|MODEL",
        help="for attention, embeddings, graph: texts; for loss: runs; for ema: a MEGA model",
    )  # fmt: skip
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="save a chart: .png, .svg or .pdf; of attention also a page: .html",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="for texts: a model's folder or name (default: embedded)",
    )
    parser.add_argument("--layer", type=int, metavar="N", help="for attention: one layer")
    parser.add_argument("--head", type=int, metavar="N", help="for attention: one head")
    parser.add_argument(
        "--token", metavar="TOKEN", help="for attention: list what this token attends to"
    )
    parser.add_argument("--depth", type=int, metavar="N", help="for graph: how deep to look")
    parser.add_argument(
        "--file", metavar="FILE", help="for embeddings: a file with one text per line, - for stdin"
    )
    parser.add_argument(
        "--steps", type=int, default=128, help="for ema: number of lags (default: 128)"
    )
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=list(LENGTHS), metavar="N",
        help=f"for length: numbers of tokens (default: {LENGTHS[0]} to {LENGTHS[-1]})",
    )  # fmt: skip
    parser.add_argument(
        "--chunk", type=int, default=128, help="for length: tokens per chunk (default: 128)"
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=20.0,
        help="for length: maximum seconds per pass (default: 20)",
    )
    add_device_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print what is shown as a table; save the chart of --output."""
    is_page = args.what == "attention" and str(args.output).lower().endswith(PAGE)
    suffixes = (*SUFFIXES, PAGE) if args.what == "attention" else SUFFIXES
    path = figure_path("--output", args.output, suffixes, drawn=not is_page)
    for option, what in ONLY.items():
        if getattr(args, option) is not None and args.what != what:
            raise ValueError(f"--{option} is an option of {what}, not of {args.what}")
    if args.what in OF_A_MODEL:
        return _of_a_model(args, path)
    if args.model is not None:
        raise ValueError(f"--model is an option of {' and '.join(OF_A_MODEL)}, not of {args.what}")
    if args.what == "loss":
        return show_losses(args.inputs, path, args.json)
    if len(args.inputs) > 1:
        raise ValueError(f"plot {args.what} takes one MODEL, got {len(args.inputs)}")
    args.model = args.inputs[0] if args.inputs else None
    return _ema(args, path) if args.what == "ema" else _length(args, path)


def _of_a_model(args: argparse.Namespace, path: Path | None) -> int:
    args.text = args.inputs
    if args.what == "embeddings":
        return show_embeddings(args, read_texts(args), path)
    if len(args.inputs) != 1:
        raise ValueError(f"plot {args.what} takes one TEXT in quotes, got {len(args.inputs)}")
    show = show_attention if args.what == "attention" else show_graph
    return show(args, args.inputs[0], path)


# --- kernels --------------------------------------------------------------------------------------


def _ema(args: argparse.Namespace, path: Path | None) -> int:
    check_integer("--steps", args.steps, 1)
    note = ""
    if args.model is None:
        model = MegaModel(MegaConfig())
        note = "a new model with random weights; give MODEL to see a trained one"
        print(note, file=sys.stderr)
    else:
        model = MegaModel.from_pretrained(args.model, add_pooling_layer=False)
    layers = [layer.mega_layer.ema_gate for layer in model.layers]
    with no_grad():
        kernels = [gate.kernel(args.steps).numpy() for gate in layers]
    size = model.config.hidden_size
    ranges = [[_memory(rows) for rows in _directions(kernel, size)] for kernel in kernels]
    if path is not None:
        first_lag = 1 - kernels[0].shape[1] if model.config.bidirectional else 0
        save_kernels(path, [_two_sided(kernel, size) for kernel in kernels], first_lag, note)
    names = ("back", "ahead")
    if args.json:
        layers = [
            {name: _quantiles(memory) for name, memory in zip(names, layer, strict=False)}
            for layer in ranges
        ]
        print_json({"model": args.model, "steps": kernels[0].shape[1], "layers": layers})
        return 0
    header = ["layer", "direction", "shortest", "half", "longest"]
    rows = [
        [str(number), name, *(str(n) for n in _quantiles(memory).values())]
        for number, layer in enumerate(ranges)
        for name, memory in zip(names, layer, strict=False)
    ]
    print("\n".join(table(header, rows, "rlrrr")))
    caption = f"lags that hold 90 % of a kernel's weight, of {kernels[0].shape[1]} lags"
    print("\n" + "\n".join(wrap(caption.split(" "), terminal_width())))
    return 0


def _directions(kernel: np.ndarray, size: int) -> list[np.ndarray]:
    """Split a kernel by direction, each (D, M): earlier tokens, and later ones if bidirectional."""
    return [kernel[start : start + size] for start in range(0, kernel.shape[0], size)]


def _memory(kernel: np.ndarray) -> np.ndarray:
    """Return for each row the number of lags, at least 1, that hold 90 % of its weight."""
    total = np.abs(kernel).cumsum(axis=1)
    return (total < 0.9 * total[:, -1:]).sum(axis=1) + 1


def _quantiles(memory: np.ndarray) -> dict[str, int]:
    ordered = np.sort(memory)
    median = ordered[len(ordered) // 2]
    return {"shortest": int(ordered[0]), "half": int(median), "longest": int(ordered[-1])}


def _two_sided(kernel: np.ndarray, size: int) -> np.ndarray:
    """Join both directions to (D, 2 M - 1), lags -(M - 1) to M - 1; at lag 0 both are added."""
    if kernel.shape[0] == size:
        return kernel
    back, ahead = kernel[:size], kernel[size:]
    both = np.concatenate([ahead[:, :0:-1], back], axis=1)
    both[:, ahead.shape[1] - 1] += ahead[:, 0]
    return both


# --- costs ----------------------------------------------------------------------------------------


def _length(args: argparse.Namespace, path: Path | None) -> int:
    if args.model is not None:
        raise ValueError(f"plot length does not use MODEL, got {args.model!r}")
    check_integer("--chunk", args.chunk, 1)
    for length in args.lengths:
        check_integer("--lengths", length, 1)
        fits = length <= args.chunk or length % args.chunk == 0
        check("--lengths", length, fits, f"<= --chunk {args.chunk} or a multiple of it")

    def report(model: str, length: int) -> None:
        print(f"{model}, {length} tokens ...", file=sys.stderr)

    costs = measure(args.lengths, args.chunk, args.limit, args.device, report)
    if path is not None:
        save_costs(path, costs)
    if args.json:
        print_json({model: _as_dict(cost) for model, cost in costs.items()})
        return 0
    print("\n".join(_cost_table(sorted(args.lengths), costs)))
    return 0


def _as_dict(cost: Cost) -> dict[str, object]:
    time, memory = (None if np.isnan(x) else round(x, 3) for x in cost.exponents())
    megabytes = [None if np.isnan(size) else size for size in cost.megabytes]
    return {
        "lengths": cost.lengths, "seconds": cost.seconds, "megabytes": megabytes,
        "time_exponent": time, "memory_exponent": memory,
    }  # fmt: skip


def _cost_table(lengths: list[int], costs: dict[str, Cost]) -> list[str]:
    """Return a table with a row per length, two columns per model, and the exponents below."""
    header = ["tokens", *(f"{model} s" for model in MODELS), *("MB" for _ in MODELS)]
    rows = []
    for length in lengths:
        times, sizes = [], []
        for cost in costs.values():
            i = cost.lengths.index(length) if length in cost.lengths else None
            times.append(_number(cost.seconds, i, 3))
            sizes.append(_number(cost.megabytes, i, 1))
        rows.append([str(length), *times, *sizes])
    exponents = list(zip(*(cost.exponents() for cost in costs.values()), strict=True))
    fits = [["-" if np.isnan(x) else f"^{x:.2f}" for x in kind] for kind in exponents]
    rows.append(["fit", *fits[0], *fits[1]])
    note = f"fit: cost ~ length^exponent, for lengths >= {FIT_FROM}; MB in the order of the seconds"
    return [*table(header, rows, "r" * 7), "", *wrap(note.split(" "), terminal_width())]


def _number(values: list[float], i: int | None, digits: int) -> str:
    return "-" if i is None or np.isnan(values[i]) else f"{values[i]:.{digits}f}"


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
