"""Model folders: open the weights in one, and save one that transformers loads too.

A folder holds ``model.safetensors``, or several files and their index (see ``sharded.py``); both
are read and written. Folders with the weights of other frameworks are read if `tinybert.formats`
is imported.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.atomic import saving, settle
from tinybert.checks import check, is_integer
from tinybert.weights.reader import TensorReader, file_formats, open_file
from tinybert.weights.safetensors import save_file, stored_infos
from tinybert.weights.sharded import (
    INDEX,
    SHARD_NAME,
    save_shards,
    split_into_shards,
)

SINGLE = "model.safetensors"
_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{p}B": 1000**i for i, p in enumerate("KMGT", 1)}
_UNITS |= {f"{p}IB": 1024**i for i, p in enumerate("KMGT", 1)}


def open_checkpoint(folder_or_file: str | os.PathLike[str]) -> TensorReader:
    """Return a lazy reader over a file of weights, an index of several, or a folder with either.

    Formats are told from the content: safetensors, PyTorch (zip and older), Megatron-LM and
    NVIDIA's zips of it, TensorFlow (``.h5`` and checkpoints), Flax, NeMo's Nemotron (``.nemo``, or
    unpacked), ONNX. Of several in a folder the first is taken, in that order. Close the reader, or
    use it in a ``with`` statement. Raises FileNotFoundError when there is no such path,
    CheckpointError when what is there cannot be read, and ImportError with the command to install
    what its format needs.
    """
    path = Path(folder_or_file)
    if path.is_dir():
        settle(path)
        files = (path / name for file_format in file_formats for name in file_format.names)
        path = next((file for file in files if file.exists()), path)
    return open_file(path)


def load_checkpoint(folder_or_file: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return all tensors of a checkpoint as read-only arrays, memory-mapped where NumPy has the
    format. Errors are those of ``open_checkpoint``.
    """
    with open_checkpoint(folder_or_file) as reader:
        return dict(reader.items())


def save_sharded(
    tensors: Mapping[str, np.ndarray],
    folder: str | os.PathLike[str],
    max_shard_size: int | str = "5GB",
    metadata: Mapping[str, str] | None = None,
    dtype: str | None = None,
) -> None:
    """Save a checkpoint folder: one file if it fits ``max_shard_size``, else shards and their
    index.

    The files change in one step, see ``tinybert.atomic``: a reader or an interruption finds all of
    the old weights or all of the new. Files of older weights are deleted.

    Parameters
    ----------
    tensors : names and arrays, or a lazy reader; shards are filled in this order.
    folder : created if needed; files of other kinds in it are left alone.
    max_shard_size : bytes of tensor data per file, as an int or like ``"5GB"`` (10^9) or ``"1GiB"``
        (2^30). A single tensor that is larger gets a file of its own.
    metadata : the header's ``__metadata__``; None means ``{"format": "pt"}``, which transformers
        requires.
    dtype : stored format of floating-point arrays, as in ``save_file``.
    """
    limit = _parse_size(max_shard_size)
    metadata = {"format": "pt"} if metadata is None else metadata
    sizes = {name: info.nbytes for name, info in stored_infos(tensors, dtype).items()}
    with saving(folder, weight_files) as new:
        if sum(sizes.values()) <= limit or len(sizes) == 1:
            save_file(tensors, new / SINGLE, metadata, dtype)
        else:
            index = new.parent / INDEX
            in_use = index.read_text("utf-8", errors="replace") if index.is_file() else ""
            shards = split_into_shards(sizes, limit)
            save_shards(tensors, new, in_use, shards, sum(sizes.values()), metadata, dtype)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that ``save_sharded`` has written into a folder."""
    files = folder.iterdir()
    return [f for f in files if f.name in (SINGLE, INDEX) or SHARD_NAME.fullmatch(f.name)]


def _parse_size(size: int | str) -> int:
    """Return `max_shard_size` in bytes."""
    limit: Any = size
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", size)
        unit = _UNITS.get(match[2].upper()) if match else None
        limit = int(float(match[1]) * unit) if match and unit else 0
    allowed = "a positive integer or a size like '5GB' or '500MiB'"
    check("max_shard_size", size, is_integer(limit) and limit > 0, allowed)
    return limit
