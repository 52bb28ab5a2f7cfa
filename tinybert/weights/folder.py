"""Checkpoints as folders: find what is in one, and write one that Hugging Face transformers reads
too.

A folder holds ``model.safetensors``, or ``model-00001-of-00003.safetensors`` and its sisters with
``model.safetensors.index.json``; those are written. The other formats that models were published
in are read as well.
"""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinybert.formats.detect import open_file
from tinybert.weights.atomic import atomic_write
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import Selection, TensorReader
from tinybert.weights.safetensors import save_file, stored_infos
from tinybert.weights.sharded import ShardedCheckpoint

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_STEMS = ("model", "model-next")  # of shards; a save takes the first that is free
_SHARD = re.compile(r"model(-next)?-\d{5,}-of-\d{5,}\.safetensors")
# What holds the weights of a folder, the best first.
_FILES = (
    SINGLE,
    INDEX,
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "tf_model.h5.index.json",
    "model.ckpt.index",
    "bert_model.ckpt.index",
    "flax_model.msgpack",
    "model_optim_rng.pt",
    "release/mp_rank_00/model_optim_rng.pt",
    "model_weights.ckpt",
)
_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{p}B": 1000**i for i, p in enumerate("KMGT", 1)}
_UNITS |= {f"{p}IB": 1024**i for i, p in enumerate("KMGT", 1)}


def open_checkpoint(folder_or_file: str | os.PathLike[str]) -> TensorReader:
    """A lazy reader over a file of weights, an index of several, or a folder with either.

    Formats are told from the content: safetensors, PyTorch (zip and older), Megatron-LM and
    NVIDIA's zips of it, TensorFlow (``.h5`` and checkpoints), Flax, NeMo's Nemotron (``.nemo``, or
    unpacked). Of several in a folder the first is taken, in that order. Close the reader, or use it
    in a ``with`` statement. Raises FileNotFoundError when there is no such path, CheckpointError
    when what is there cannot be read, and ImportError with the command to install what its format
    needs.
    """
    path = Path(folder_or_file)
    if path.is_dir():
        found = next((path / name for name in _FILES if (path / name).exists()), None)
        if found is None and any(path.glob("*.index")):
            found = path  # TensorFlow's, under another name
        if found is None:
            raise CheckpointError(path, f"has no weights: none of {', '.join(_FILES)}")
        path = found
    if path.name.endswith(".index.json") and not path.name.endswith(".h5.index.json"):
        return ShardedCheckpoint(path)
    return open_file(path)


def load_checkpoint(folder_or_file: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All tensors of a checkpoint as read-only arrays, memory-mapped where NumPy has the format.

    Errors are those of ``open_checkpoint``.
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
    """Write a checkpoint folder: one file if it fits ``max_shard_size``, else shards and their
    index.

    Everything is written beside the old files, which the index, written last, gives up at once:
    whoever reads or interrupts has all of the old weights or all of the new. Then the files of the
    older save are removed. Shards have Hugging Face's names, with a ``-next`` if those are taken.

    Parameters
    ----------
    tensors : names and arrays, or a lazy reader; shards are filled in this order.
    folder : created if need be; files of other kinds in it are left alone.
    max_shard_size : bytes of tensor data a file, as an int or like ``"5GB"`` (10^9) or ``"1GiB"``
        (2^30). A single tensor that is larger gets a file of its own.
    metadata : the header's ``__metadata__``; None means ``{"format": "pt"}``, which Hugging Face
        asks for.
    dtype : stored format of floating-point arrays, as in ``save_file``.
    """
    limit = _parse_size(max_shard_size)
    metadata = {"format": "pt"} if metadata is None else metadata
    sizes = {name: info.nbytes for name, info in stored_infos(tensors, dtype).items()}
    shards = _split(sizes, limit)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if len(shards) == 1:
        save_file(tensors, folder / SINGLE, metadata, dtype)
        _remove_stale(folder, {SINGLE})
        return
    files = dict(zip(_free_names(folder, len(shards)), shards, strict=True))
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as unfinished:
        for file, names in files.items():
            save_file(_some(tensors, names), Path(unfinished, file), metadata, dtype)
        for file in files:
            os.replace(Path(unfinished, file), folder / file)
    index = {
        "metadata": {"total_size": sum(sizes.values())},
        "weight_map": {name: file for file, names in files.items() for name in names},
    }
    with atomic_write(folder / INDEX, "w") as out:
        json.dump(index, out, indent=2, sort_keys=True, ensure_ascii=False)
        out.write("\n")
    _remove_stale(folder, {INDEX, *files})


def _free_names(folder: Path, count: int) -> list[str]:
    """Names for so many shards, none of them a file that the folder's index may still need."""
    index = folder / INDEX
    in_use = index.read_text("utf-8", errors="replace") if index.is_file() else ""
    stem = next((stem for stem in _STEMS if f'"{stem}-0' not in in_use), _STEMS[0])
    return [f"{stem}-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]


def _some(tensors: Mapping[str, np.ndarray], names: list[str]) -> Mapping[str, np.ndarray]:
    """Those tensors, still unread if they come from a lazy reader."""
    if isinstance(tensors, TensorReader):
        return Selection(tensors, names)
    return {name: tensors[name] for name in names}


def _parse_size(size: int | str) -> int:
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", size)
        unit = _UNITS.get(match[2].upper()) if match else None
        limit = int(float(match[1]) * unit) if match and unit else 0
    else:
        limit = size
    if not isinstance(limit, int) or isinstance(limit, bool) or limit <= 0:
        raise ValueError(
            f"max_shard_size must be a positive int or a size like '5GB' or '500MiB', got {size!r}"
        )
    return limit


def _split(sizes: dict[str, int], limit: int) -> list[list[str]]:
    """Names by shard, filled greedily in order; the same shards as Hugging Face makes."""
    shards: list[list[str]] = []
    current: list[str] = []
    filled = 0
    for name, size in sizes.items():
        if size > limit:
            shards.append([name])
            continue
        if filled + size > limit:
            shards.append(current)
            current, filled = [], 0
        current.append(name)
        filled += size
    if current or not shards:
        shards.append(current)
    return shards


def _remove_stale(folder: Path, keep: set[str]) -> None:
    for file in list(folder.iterdir()):
        known = file.name in (SINGLE, INDEX) or _SHARD.fullmatch(file.name)
        if known and file.name not in keep:
            file.unlink()
