"""`tinybert inspect`: list the configuration and the tensors of a checkpoint."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinybert.cli.command import Command, add_json_argument
from tinybert.cli.model_files import find_config, weights_path
from tinybert.cli.tensor_table import shape_text, tensor_table
from tinybert.cli.terminal import human_size, print_json
from tinybert.display import visible
from tinybert.progress import progress_bar
from tinybert.weights import open_checkpoint
from tinybert.weights.reader import TensorReader

BLOCK = 1 << 20  # elements of a tensor that are processed together
STATISTICS = ("mean", "std", "min", "max")

DETAILS = """\
Lists the configuration, and every tensor with shape, dtype and size, of a
model's folder or a weights file: safetensors, PyTorch (.bin, .pt), Megatron-LM
(NGC's .zip), TensorFlow (.h5, .ckpt.index) or Flax (.msgpack). Names are those
of transformers' PyTorch classes. Tensors are read only with --values, which
shows mean, standard deviation, minimum and maximum of the finite values, and
the numbers of NaN and infinite values."""

EXAMPLE = """\
  $ tinybert inspect minilm
  ...
  name                               shape      dtype     size
  ...
  embeddings.word_embeddings.weight  30522x384  F32    46.9 MB
  ...
  104 tensors, 90.9 MB, 22.7 million parameters

  $ tinybert inspect model.safetensors --values --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add MODEL, --values, --json."""
    parser.add_argument(
        "model", metavar="MODEL", help="a folder, a weights file, or a model's name"
    )
    parser.add_argument(
        "--values", action="store_true", help="read the tensors and show their statistics"
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the configuration and the tensors."""
    path = weights_path(args.model)
    with open_checkpoint(path) as checkpoint:
        config = find_config(path, checkpoint)
        tensors = _all_described(checkpoint, args.values)
        metadata, file_format = checkpoint.metadata, checkpoint.format
    result = {
        "path": str(path),
        "format": file_format,
        "config": config.options if config else None,
        "config_from": config.origin if config else None,
        "metadata": metadata,
        "tensors": tensors,
        "bytes": sum(t["bytes"] for t in tensors),
        "parameters": sum(math.prod(t["shape"]) for t in tensors if _is_floating(t["dtype"])),
    }
    if args.json:
        print_json(result)
    else:
        print("\n".join(_lines(result, args.values)))
    return 0


def _is_floating(dtype: str) -> bool:
    """Return whether a dtype is floating; integer tensors are position ids or masks."""
    return dtype.startswith(("F", "BF", "C"))


def _all_described(checkpoint: TensorReader, values: bool) -> list[dict[str, Any]]:
    if not values:
        return [_described(checkpoint, name) for name in checkpoint]
    described = []
    total = sum(checkpoint.info(name).nbytes for name in checkpoint)
    with progress_bar("reading", total, "B") as advance:
        for name in checkpoint:
            described.append(_described(checkpoint, name) | statistics(checkpoint.copy(name)))
            advance(checkpoint.info(name).nbytes)
    return described


def _described(checkpoint: TensorReader, name: str) -> dict[str, Any]:
    info = checkpoint.info(name)
    return {"name": name, "shape": list(info.shape), "dtype": info.dtype, "bytes": info.nbytes}


def statistics(array: np.ndarray) -> dict[str, Any]:
    """Compute mean, std, min and max of the finite elements, and count NaN and infinite ones.

    The statistics are None if no element is finite. Sums are float64, over blocks: the array is
    never copied as a whole.
    """
    count, total, low, high, nan = 0, 0.0, math.inf, -math.inf, 0
    for block in _blocks(array):
        finite = block[np.isfinite(block)]
        nan += int(np.isnan(block).sum())
        count += finite.size
        total += float(finite.sum())
        low, high = min(low, finite.min(initial=low)), max(high, finite.max(initial=high))
    inf = array.size - count - nan
    if not count:
        return {**dict.fromkeys(STATISTICS), "nan": nan, "inf": inf}
    mean, squares = total / count, 0.0
    for block in _blocks(array):
        finite = block[np.isfinite(block)]
        squares += float(((finite - mean) ** 2).sum())
    values = (mean, math.sqrt(squares / count), float(low), float(high))
    return {**dict(zip(STATISTICS, values, strict=True)), "nan": nan, "inf": inf}


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield blocks of the elements in float64; absolute values of complex elements."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK]
        yield np.abs(block) if block.dtype.kind == "c" else block.astype(np.float64)


def _lines(result: dict[str, Any], values: bool) -> list[str]:
    lines = [f"{result['path']} ({result['format']})"]
    for title, origin in (("config", result["config_from"]), ("metadata", "the file")):
        options = result[title]
        if options:
            width = max(map(len, options))
            lines += ["", f"{title} (from {origin}):"]
            lines += [f"  {visible(k):{width}}  {visible(str(v))}" for k, v in options.items()]
    lines += ["", *_tensor_table(result["tensors"], values), "", _total(result)]
    not_finite = [t["name"] for t in result["tensors"] if t.get("nan") or t.get("inf")]
    if not_finite:
        lines.append(f"NaN or infinity in {len(not_finite)} tensor(s), first in {not_finite[0]}")
    return lines


def _tensor_table(tensors: list[dict[str, Any]], values: bool) -> list[str]:
    counts = [n for n in ("nan", "inf") if values and (n == "nan" or any(t[n] for t in tensors))]
    header = ["name", "shape", "dtype", *(STATISTICS if values else ["size"]), *counts]
    rows = [_cells(tensor, values, counts) for tensor in tensors]
    return tensor_table(header, rows, "lll" + "r" * (len(header) - 3))


def _cells(tensor: dict[str, Any], values: bool, counts: list[str]) -> list[str]:
    cells = [tensor["name"], shape_text(tensor["shape"]), tensor["dtype"]]
    if not values:
        return [*cells, human_size(tensor["bytes"])]
    numbers = [tensor[name] for name in STATISTICS]
    cells += ["-" if number is None else f"{number:.3g}" for number in numbers]
    return cells + [str(tensor[name]) for name in counts]


def _total(result: dict[str, Any]) -> str:
    count, parameters = len(result["tensors"]), result["parameters"]
    shown = f"{parameters / 1e6:.1f} million" if parameters >= 1e6 else f"{parameters:,}"
    return f"{count} tensors, {human_size(result['bytes'])}, {shown} parameters"


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
