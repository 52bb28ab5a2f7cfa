"""`tinybert plot`: what a MEGA remembers, and what the length of a text costs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from tinybert.autograd import no_grad
from tinybert.bench.sequence_length import FIT_FROM, LENGTHS, SIDES, Cost, measure
from tinybert.cli.command import Command, add_device_argument, add_json_argument, optional
from tinybert.cli.heatmap import check_plot
from tinybert.cli.mega_charts import save_costs, save_kernels
from tinybert.cli.terminal import print_json, table
from tinybert.models import MegaConfig, MegaModel

DETAILS = """\
ema     the kernels of a MEGA's moving averages: how much each feature still
        counts after so many steps. MODEL is a folder, or a name on the Hub;
        without, a fresh model of the default sizes. The text gives, for each
        layer, after how many steps nine tenths of a kernel's weight have been
        seen: for the feature that forgets first, for half of the features,
        and for the one that remembers longest.
length  time and memory of one layer, forward and backward, against the number
        of tokens: full attention, MEGA, and MEGA in chunks. Each is fitted by
        length^exponent. A side stops where a pass would take too long.

--output writes a picture as well (pip install "tinybert[plot]")."""

EXAMPLE = """\
  $ tinybert plot ema my-mega --steps 256 --output kernels.png
  $ tinybert plot length --lengths 512 2048 8192 --output length.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """ema or length, MODEL, --output, and the options of each."""
    parser.add_argument("what", choices=("ema", "length"), help="what to show")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="for ema: a model")
    parser.add_argument("--output", metavar="FILE", help="the picture: .png, .svg or .pdf")
    parser.add_argument("--steps", type=int, default=128, help="of the kernels (default: 128)")
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=list(LENGTHS), metavar="N",
        help=f"numbers of tokens (default: {LENGTHS[0]} to {LENGTHS[-1]})",
    )  # fmt: skip
    parser.add_argument("--chunk", type=int, default=128, help="tokens of a chunk (default: 128)")
    parser.add_argument(
        "--limit", type=float, default=20.0, help="most seconds of a pass (default: 20)"
    )
    add_device_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Show what was asked for; errors are raised before the work."""
    path = None
    if args.output is not None:
        optional("matplotlib", "plot", "--output")
        path = Path(args.output)
        check_plot(path, 0)
    return _ema(args, path) if args.what == "ema" else _length(args, path)


# --- kernels --------------------------------------------------------------------------------------


def _ema(args: argparse.Namespace, path: Path | None) -> int:
    if args.steps < 1:
        raise ValueError(f"--steps must be at least 1, got {args.steps}")
    if args.model is None:
        model = MegaModel(MegaConfig())
    else:
        model = MegaModel.from_pretrained(args.model, add_pooling_layer=False)
    layers = [layer.mega_layer.ema_gate for layer in model.layers]
    with no_grad():
        kernels = [gate.kernel(args.steps).numpy() for gate in layers]
    size = model.config.hidden_size
    reaches = [[_reach(rows) for rows in _directions(kernel, size)] for kernel in kernels]
    if path is not None:
        first = 1 - kernels[0].shape[1] if model.config.bidirectional else 0
        save_kernels(path, [_two_sided(kernel, size) for kernel in kernels], first)
    names = ("back", "ahead")
    if args.json:
        shown = [
            {name: _quantiles(reach) for name, reach in zip(names, layer, strict=False)}
            for layer in reaches
        ]
        print_json({"steps": kernels[0].shape[1], "layers": shown})
        return 0
    heads = ["layer", "looks", "shortest", "half", "longest"]
    rows = [
        [str(number), name, *(str(n) for n in _quantiles(reach).values())]
        for number, layer in enumerate(reaches)
        for name, reach in zip(names, layer, strict=False)
    ]
    print("\n".join(table(heads, rows, "rlrrr")))
    print(f"\nsteps for nine tenths of a kernel's weight, of {kernels[0].shape[1]} looked at")
    return 0


def _directions(kernel: np.ndarray, size: int) -> list[np.ndarray]:
    """The rows that look back, and those that look ahead if there are any, each (D, M)."""
    return [kernel[at : at + size] for at in range(0, kernel.shape[0], size)]


def _reach(kernel: np.ndarray) -> np.ndarray:
    """After how many steps nine tenths of each row's weight have been seen, at least 1."""
    seen = np.abs(kernel).cumsum(axis=1)
    return (seen < 0.9 * seen[:, -1:]).sum(axis=1) + 1


def _quantiles(reach: np.ndarray) -> dict[str, int]:
    ordered = np.sort(reach)
    half = ordered[len(ordered) // 2]
    return {"shortest": int(ordered[0]), "half": int(half), "longest": int(ordered[-1])}


def _two_sided(kernel: np.ndarray, size: int) -> np.ndarray:
    """Lags from ahead (negative) to back, (D, 2 M - 1): lag 0 is the sum of both directions."""
    if kernel.shape[0] == size:
        return kernel
    back, ahead = kernel[:size], kernel[size:]
    both = np.concatenate([ahead[:, :0:-1], back], axis=1)
    both[:, ahead.shape[1] - 1] += ahead[:, 0]
    return both


# --- costs ----------------------------------------------------------------------------------------


def _length(args: argparse.Namespace, path: Path | None) -> int:
    if args.model is not None:
        raise ValueError(f"plot length takes no model, got {args.model!r}")
    if min(args.lengths) < 1 or args.chunk < 1:
        raise ValueError("--lengths and --chunk must be at least 1")
    wrong = [n for n in args.lengths if n > args.chunk and n % args.chunk]
    if wrong:
        raise ValueError(f"--lengths must be multiples of --chunk {args.chunk}, got {wrong[0]}")
    progress = lambda side, n: print(f"{side}, {n} tokens ...", file=sys.stderr)  # noqa: E731
    costs = measure(args.lengths, args.chunk, args.limit, args.device, progress)
    if path is not None:
        save_costs(path, costs)
    if args.json:
        print_json({side: _as_dict(cost) for side, cost in costs.items()})
        return 0
    print("\n".join(_lines(sorted(args.lengths), costs)))
    return 0


def _as_dict(cost: Cost) -> dict[str, object]:
    time, memory = (None if np.isnan(x) else round(x, 3) for x in cost.exponents())
    megabytes = [None if np.isnan(size) else size for size in cost.megabytes]
    return {
        "lengths": cost.lengths, "seconds": cost.seconds, "megabytes": megabytes,
        "time_exponent": time, "memory_exponent": memory,
    }  # fmt: skip


def _lines(lengths: list[int], costs: dict[str, Cost]) -> list[str]:
    """A row a length, two columns a side, and the fitted exponents beneath."""
    heads = ["tokens", *(f"{side} s" for side in SIDES), *("MB" for _ in SIDES)]
    rows = []
    for length in lengths:
        at = {s: c.lengths.index(length) if length in c.lengths else None for s, c in costs.items()}
        times = [_number(c.seconds, at[s], 3) for s, c in costs.items()]
        sizes = [_number(c.megabytes, at[s], 1) for s, c in costs.items()]
        rows.append([str(length), *times, *sizes])
    fits = list(zip(*(cost.exponents() for cost in costs.values()), strict=True))
    shown = [["-" if np.isnan(x) else f"^{x:.2f}" for x in kind] for kind in fits]
    rows.append(["fit", *shown[0], *shown[1]])
    note = (
        f"fit: cost as length^exponent, from {FIT_FROM} tokens on; MB in the order of the seconds"
    )
    return [*table(heads, rows, "r" * 7), "", note]


def _number(values: list[float], at: int | None, digits: int) -> str:
    return "-" if at is None or np.isnan(values[at]) else f"{values[at]:.{digits}f}"


COMMAND = Command(
    "plot", "Show what a MEGA remembers, and what length costs", DETAILS, EXAMPLE,
    add_arguments, run,
)  # fmt: skip
