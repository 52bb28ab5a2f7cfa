"""`tinybert trace --png`, `--svg`: one picture of a record, as a file for a talk or a text."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tinybert.checks import check, check_integer
from tinybert.cli.attention_chart import MAX_TOKENS, save_all_heads, save_heads
from tinybert.cli.figures import figure_path
from tinybert.cli.svg_figures import save_svg
from tinybert.trace import Trace
from tinybert.trace.html.page import attention_steps
from tinybert.trace.pictures import gradients_picture, staircase_picture, step_picture
from tinybert.trace.runs import Run

NAMES = ("staircase", "attention", "gradients")
FLAGS = ("png", "svg")
NUMBERS = ("row", "layer", "head")


def add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --png, --svg, --picture, --layer, --head, --row."""
    for flag in FLAGS:
        parser.add_argument(
            f"--{flag}", metavar="FILE", help=f"save --picture as {flag.upper()}: .{flag}"
        )
    parser.add_argument(
        "--picture", metavar="WHAT",
        help="staircase, attention, gradients, or the number of a step: 41",
    )  # fmt: skip
    parser.add_argument("--layer", type=int, metavar="N", help="for attention: one layer")
    parser.add_argument("--head", type=int, metavar="N", help="for attention or a step: one head")
    parser.add_argument("--row", type=int, metavar="N", help="of two texts: 0 or 1 (default: 0)")


def picture_paths(args: argparse.Namespace) -> list[Path]:
    """Return the files to save; ValueError, before anything is recorded, for wrong arguments."""
    paths = []
    for flag in FLAGS:
        drawn = flag == "png" or args.picture == "attention"
        path = figure_path(f"--{flag}", getattr(args, flag), (f".{flag}",), drawn)
        paths += [path] if path is not None else []
    used = [f"--{name}" for name in ("picture", *NUMBERS) if getattr(args, name) is not None]
    if used and not paths:
        raise ValueError(f"{used[0]} needs --png FILE or --svg FILE")
    if not paths:
        return []
    allowed = f"{', '.join(NAMES)} or the number of a step"
    if args.picture is None:
        raise ValueError(f"--png and --svg need --picture: {allowed}")
    known = args.picture in NAMES or args.picture.isdecimal()
    check("--picture", args.picture, known, allowed)
    for name in NUMBERS:
        if getattr(args, name) is not None:
            check_integer(f"--{name}", getattr(args, name), 0)
    if args.layer is not None and args.picture != "attention":
        raise ValueError("--layer is an option of --picture attention")
    if args.head is not None and args.picture in ("staircase", "gradients"):
        raise ValueError("--head is an option of --picture attention, and of a step")
    return paths


def save_picture(path: Path, run: Run, args: argparse.Namespace) -> None:
    """Draw the picture that the arguments name, and save it."""
    trace = run.trace
    if args.picture == "attention":
        _save_attention(path, run, args)
    elif args.picture == "gradients":
        save_svg(path, gradients_picture(trace))
    elif args.picture == "staircase":
        save_svg(path, staircase_picture(trace))
    else:
        number = int(args.picture)
        fits = number < len(trace)
        check("--picture", number, fits, f"a step from 0 to {len(trace) - 1}")
        save_svg(
            path, step_picture(trace, trace[number], run.tokens, args.row or 0, args.head or 0)
        )


def _save_attention(path: Path, run: Run, args: argparse.Namespace) -> None:
    row = args.row or 0
    maps = attention_maps(run.trace, row)
    if not maps:
        raise ValueError("--picture attention: the record has no attention weights")
    layers = _chosen("--layer", args.layer, len(maps))
    heads = _chosen("--head", args.head, len(maps[0]))
    size = maps[0].shape[-1]
    check("--picture attention", size, size <= MAX_TOKENS, f"of at most {MAX_TOKENS} tokens")
    shown = np.stack([maps[layer][heads] for layer in layers])
    if args.layer is None and args.head is None:
        save_all_heads(path, shown)
        return
    tokens = run.tokens[row] if row < len(run.tokens) else []
    labels = tokens if len(tokens) == size else [str(n) for n in range(size)]
    names = [f"layer {layer}, head {head}" for layer in layers for head in heads]
    save_heads(path, shown.reshape(-1, size, size), names, labels)


def attention_maps(trace: Trace, row: int) -> list[np.ndarray]:
    """Return the attention weights (H, T, T) of each layer, for one row of the batch."""
    maps = []
    for number in attention_steps(trace):
        weights = trace[number].outputs[0].array
        if weights is None:
            raise ValueError("--picture attention: only thumbnails of the weights are kept")
        check("--row", row, row < len(weights), f"less than {len(weights)}, the size of the batch")
        maps.append(weights[row].reshape(-1, *weights.shape[-2:]))
    return maps


def _chosen(flag: str, number: int | None, count: int) -> list[int]:
    if number is None:
        return list(range(count))
    check(flag, number, number < count, f"from 0 to {count - 1}")
    return [number]
