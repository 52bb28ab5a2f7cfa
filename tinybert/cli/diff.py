"""`tinybert diff`: compare two checkpoints, tensor by tensor."""

from __future__ import annotations

import argparse
from typing import Any

from tinybert.checks import check_number
from tinybert.cli.command import Command, add_json_argument
from tinybert.cli.model_files import weights_path
from tinybert.cli.tensor_table import shape_text, tensor_table
from tinybert.cli.terminal import print_json
from tinybert.formats.difference import difference
from tinybert.progress import progress_bar
from tinybert.weights import open_checkpoint
from tinybert.weights.reader import TensorReader

DETAILS = """\
Compares two checkpoints of any format. Lists tensors that only one has,
different shapes and dtypes, and for each tensor the maximum and the mean
absolute difference, largest first. NaN equals NaN. The exit code is 0 if all
tensors are equal, else 1. --tolerance X accepts differences up to X, and
different dtypes; --json also lists the tensors that are equal.
Only one tensor at a time is in memory."""

EXAMPLE = """\
  $ tinybert diff minilm finetuned
  name                                 shape     dtype  max diff  mean diff
  pooler.dense.weight                  384x384   F32     0.00473   0.000799
  encoder.layer.5.output.dense.weight  384x1536  F32     0.00468   0.000798

  104 tensors in both: 102 equal, 2 differ

  $ tinybert diff pytorch_model.bin model.safetensors && echo equal"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add A, B, --tolerance, --json."""
    for name in "AB":
        parser.add_argument(name.lower(), metavar=name, help="a folder, a weights file or a name")
    parser.add_argument(
        "--tolerance", type=float, metavar="X", help="maximum difference allowed (default: 0)"
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Compare the checkpoints and print the differences; return 1 if there is one."""
    if args.tolerance is not None:
        check_number("--tolerance", args.tolerance)
    paths = weights_path(args.a), weights_path(args.b)
    with open_checkpoint(paths[0]) as a, open_checkpoint(paths[1]) as b:
        result = {"a": str(paths[0]), "b": str(paths[1]), **_compared(a, b, args.tolerance)}
    if args.json:
        print_json(result)
    else:
        print("\n".join(_lines(result)))
    return 0 if result["equal"] else 1


def _compared(a: TensorReader, b: TensorReader, tolerance: float | None) -> dict[str, Any]:
    common = [name for name in a if name in b]
    same_shape = [name for name in common if a.info(name).shape == b.info(name).shape]
    tensors = []
    total = sum(a.info(name).nbytes for name in same_shape)
    with progress_bar("comparing", total, "B") as advance:
        for name in same_shape:
            tensors.append(_tensor(name, a, b, tolerance))
            advance(a.info(name).nbytes)
    tensors.sort(key=lambda t: (-t["unlike"], -t["max_difference"], t["dtype_a"] == t["dtype_b"]))
    result = {
        "only_in_a": [_described(a, name) for name in a if name not in b],
        "only_in_b": [_described(b, name) for name in b if name not in a],
        "other_shape": [
            {"name": n, "shape_a": list(a.info(n).shape), "shape_b": list(b.info(n).shape)}
            for n in common
            if n not in set(same_shape)
        ],
    }
    equal = not any(result.values()) and all(t["equal"] for t in tensors)
    return {"equal": equal, "tolerance": tolerance or 0.0, **result, "tensors": tensors}


def _described(checkpoint: TensorReader, name: str) -> dict[str, Any]:
    info = checkpoint.info(name)
    return {"name": name, "shape": list(info.shape), "dtype": info.dtype}


def _tensor(name: str, a: TensorReader, b: TensorReader, tolerance: float | None) -> dict[str, Any]:
    dtypes = a.info(name).dtype, b.info(name).dtype
    gap = difference(a.copy(name), b.copy(name))
    same_dtype = dtypes[0] == dtypes[1] or tolerance is not None
    return {
        "name": name,
        "shape": list(a.info(name).shape),
        "dtype_a": dtypes[0],
        "dtype_b": dtypes[1],
        "max_difference": gap.largest,
        "mean_difference": gap.mean,
        "unlike": gap.unlike,
        "equal": same_dtype and not gap.unlike and gap.largest <= (tolerance or 0.0),
    }


def _lines(result: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for side in "ab":
        if only := result[f"only_in_{side}"]:
            rows = [[t["name"], shape_text(t["shape"]), t["dtype"]] for t in only]
            header = [f"only in {side.upper()} ({len(only)})", "shape", "dtype"]
            lines += [*tensor_table(header, rows, "lll"), ""]
    if other := result["other_shape"]:
        rows = [[t["name"], shape_text(t["shape_a"]), shape_text(t["shape_b"])] for t in other]
        header = [f"different shapes ({len(other)})", "in A", "in B"]
        lines += [*tensor_table(header, rows, "lll"), ""]
    differ = [t for t in result["tensors"] if not t["equal"]]
    if differ:
        header = ["name", "shape", "dtype", "max diff", "mean diff"]
        lines += [*tensor_table(header, [_cells(t) for t in differ], "lllrr"), ""]
    if any(t["unlike"] for t in differ):
        lines += ["(+n): n elements that are NaN or infinite in only one of the two", ""]
    return [*lines, _summary(result)]


def _cells(tensor: dict[str, Any]) -> list[str]:
    dtypes = dict.fromkeys((tensor["dtype_a"], tensor["dtype_b"]))
    unlike = f" (+{tensor['unlike']})" if tensor["unlike"] else ""
    return [
        tensor["name"],
        shape_text(tensor["shape"]),
        "/".join(dtypes),
        f"{tensor['max_difference']:.3g}{unlike}",
        f"{tensor['mean_difference']:.3g}",
    ]


def _summary(result: dict[str, Any]) -> str:
    tensors = result["tensors"]
    within = f" within {result['tolerance']:g}" if result["tolerance"] else ""
    if result["equal"]:
        return f"{len(tensors)} tensors in both, all equal{within}"
    differ = [t for t in tensors if not t["equal"]]
    parts = [f"{len(tensors) - len(differ)} equal{within}", f"{len(differ)} differ"]
    if other := result["other_shape"]:
        parts.append(f"{len(other)} with different shapes")
    parts += [
        f"{len(only)} only in {side.upper()}"
        for side in "ab"
        if (only := result[f"only_in_{side}"])
    ]
    return f"{len(tensors) + len(other)} tensors in both: {', '.join(parts)}"


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
