"""`tinybert embed`: compute sentence embeddings, to print or to save as a NumPy file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.cli.command import (
    Command,
    add_device_argument,
    add_json_argument,
    add_model_argument,
    add_text_arguments,
    check_output_file,
    read_texts,
)
from tinybert.cli.ranks import first_alone, from_first, on_ranks, shared_embedder
from tinybert.cli.terminal import human_size, pad, print_json, shorten, table, terminal_width
from tinybert.hub import WEIGHT_FILES, resolve
from tinybert.weights import atomic_write

SHOWN_TEXTS = 20
SHOWN_NUMBERS = 4
SUFFIXES = (".npy", ".npz")

DETAILS = """\
Computes one vector for each text; similar texts get similar vectors. Texts
come from the arguments, or one per line from --file or standard input. The
pooling of token features is that of the model's folder (sentence-transformers
format), by default the mean over tokens; it is printed with the file that it
comes from. Longer texts than the model takes are cut, with a warning.

On several ranks of MPI each computes a part of the texts:
mpiexec -n 4 tinybert embed --file texts.txt --output vectors.npy"""

EXAMPLE = """\
  $ tinybert embed "A cat sat." "Rain again."
  2 vector(s) of 384 numbers, float32
  pooling: mean, scaled to length 1 (1_Pooling/config.json)

  #  text            vector
  1  A cat sat.     0.1005 -0.0251 -0.0175  0.0905 ...
  2  Rain again.   -0.0145 -0.0462  0.1092  0.0819 ...

  $ tinybert embed --file sentences.txt --output vectors.npy
  $ python -c "import numpy as np; print(np.load('vectors.npy').shape)"
  (200, 384)

  A .npz file also has the texts: np.load(f)["embeddings"], ["texts"]."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT, --file, --model, --output, --batch-size, --device, --json."""
    add_text_arguments(parser)
    add_model_argument(parser)
    parser.add_argument("--output", metavar="FILE", help="save the vectors: .npy or .npz")
    parser.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="texts per batch (default: 32)"
    )
    add_device_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Compute the embeddings, then save them or print their first numbers."""
    output = None if args.output is None else Path(args.output)
    if output is not None:
        check_output_file("--output", output, SUFFIXES)
    texts = from_first(args, lambda: read_texts(args))
    folder = first_alone(args, lambda: resolve(args.model, WEIGHT_FILES))
    with shared_embedder(args, folder) as embedder:
        if embedder is None:
            return 0
        vectors = embedder.encode(texts, batch_size=args.batch_size)
    result: dict[str, Any] = {"model": str(folder), "shape": list(vectors.shape)}
    result |= {"pooling": embedder.pooling, "pooling_source": embedder.pooling_source}
    result |= {"normalised": embedder.normalise}
    if output is not None:
        _write(output, texts, vectors)
        result["output"] = str(output)
    else:
        result |= {"texts": texts, "embeddings": vectors.tolist()}
    if args.json:
        print_json(result)
        return 0
    print(f"{len(vectors)} vector(s) of {vectors.shape[1]} numbers, {vectors.dtype}")
    print(embedder.describe())
    if output is not None:
        print(f"saved to {output} ({human_size(output.stat().st_size)})")
    else:
        print("\n" + "\n".join(_table(texts, vectors)))
    return 0


def _write(path: Path, texts: list[str], vectors: np.ndarray) -> None:
    with atomic_write(path) as file:
        if path.suffix.lower() == ".npy":
            np.save(file, vectors)
        else:
            np.savez_compressed(file, embeddings=vectors, texts=np.array(texts))


def _table(texts: list[str], vectors: np.ndarray) -> list[str]:
    numbers = [
        "".join(f"{x:8.4f}" for x in vector[:SHOWN_NUMBERS]) + " ..."
        for vector in vectors[:SHOWN_TEXTS]
    ]
    width = terminal_width() - len(numbers[0]) - len(str(len(texts))) - 4
    width = max(8, min(width, 60))
    rows = [
        [str(number), shorten(text, width), vector]
        for number, (text, vector) in enumerate(zip(texts, numbers, strict=False), 1)
    ]
    lines = table(["#", "text", pad("", 3) + "vector"], rows, "rll")
    if len(texts) > SHOWN_TEXTS:
        lines.append(f"... and {len(texts) - SHOWN_TEXTS} more; --output FILE.npy saves all")
    return lines


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, on_ranks(run), ranks=True)
