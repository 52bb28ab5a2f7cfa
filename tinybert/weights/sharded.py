"""Checkpoints of several files (shards), safetensors or PyTorch's, and the index that lists them.

The index is JSON, ``{"metadata": {...}, "weight_map": {tensor name: file name}}``. It is checked
against the files.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.atomic import atomic_write
from tinybert.files import read_regular
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import (
    MAX_INDEX,
    FileFormat,
    TensorInfo,
    TensorReader,
    open_stored,
    register_format,
)
from tinybert.weights.safetensors import save_file
from tinybert.weights.strict_json import parse_json

INDEX = "model.safetensors.index.json"
SHARD_NAME = re.compile(r"model(-next)?-\d{5,}-of-\d{5,}\.safetensors")
_STEMS = ("model", "model-next")  # of shards' names; a save uses the first that is free


class ShardedCheckpoint(TensorReader):
    """All shards of an index, opened and checked against it; a tensor is read when it is accessed.

    Tensors are ordered shard by shard. ``metadata`` is that of the first shard. Shards are in the
    folder of the index (they may be symbolic links, as in the cache of the Hugging Face Hub).
    Raises CheckpointError for a malformed index, a file name that is a path, a missing shard, and
    a tensor that is missing, not in the index, or in two shards.
    """

    def __init__(self, index: str | os.PathLike[str]) -> None:
        self.path = os.fspath(index)
        weight_map = _read_index(Path(self.path))
        self._named: dict[str, TensorReader] = {}
        with ExitStack() as opened:
            for shard in sorted(set(weight_map.values())):
                file = opened.enter_context(self._open(shard))
                self._adopt(file, shard, weight_map)
            for name, shard in weight_map.items():
                if name not in self._named:
                    raise CheckpointError(
                        self._beside(shard),
                        f"lacks tensor {name!r:.200}, which the index expects in it",
                    )
            self._files = opened.pop_all()
        first = next(iter(self._named.values()), None)
        self.metadata = dict(first.metadata) if first else {}
        self.format = f"sharded {first.format}" if first else "sharded"

    def _beside(self, shard: str) -> Path:
        return Path(self.path).parent / shard

    def _open(self, shard: str) -> TensorReader:
        try:
            return open_stored(self._beside(shard))
        except FileNotFoundError:
            raise CheckpointError(
                self._beside(shard),
                "is missing, but the index names it; download the whole folder again",
            ) from None

    def _adopt(self, file: TensorReader, shard: str, weight_map: dict[str, str]) -> None:
        for name in file:
            if name in self._named:
                raise CheckpointError(
                    self._beside(shard),
                    f"has tensor {name!r:.200}, and another shard has it too",
                )
            listed = weight_map.get(name)
            if listed != shard:
                where = f"expects in {listed}" if listed else "does not list"
                raise CheckpointError(
                    self._beside(shard), f"has tensor {name!r:.200}, which the index {where}"
                )
            self._named[name] = file

    def mapped(self, name: str) -> np.ndarray | None:
        """See ``TensorReader.mapped``."""
        return self._shard(name).mapped(name)

    def stored(self, name: str) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray] | None]:
        """See ``TensorReader.stored``."""
        return self._shard(name).stored(name)

    def close(self) -> None:
        """Close every shard. Arrays that were handed out stay valid."""
        self._files.close()

    def __getitem__(self, name: str) -> np.ndarray:
        return self._shard(name)[name]

    def info(self, name: str) -> TensorInfo:
        """Return format, shape and size of a tensor without reading its data."""
        return self._shard(name).info(name)

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` with a tensor, cast to its dtype; see ``TensorReader.read_into``."""
        self._shard(name).read_into(name, out)

    def _shard(self, name: str) -> TensorReader:
        if name not in self._named:
            raise KeyError(f"{self.path} has no tensor {name!r:.200}")
        return self._named[name]


def _read_index(path: Path) -> dict[str, str]:
    """Return the checked weight map of an index file."""
    raw = read_regular(path, MAX_INDEX, CheckpointError)
    try:
        content: Any = parse_json(raw)
    except ValueError as error:
        raise CheckpointError(path, f"bad index: {error}") from None
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict):
        raise CheckpointError(path, "bad index: it must be a JSON object with a weight_map object")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not _is_plain_name(shard):
            raise CheckpointError(
                path,
                f"bad index: the file of tensor {name!r:.200} is {shard!r:.80}, not a plain file "
                "name that ends in .safetensors or .bin",
            )
    return weight_map


def _is_plain_name(name: str) -> bool:
    # Separators and drive letters of all systems, so a folder means the same on each.
    return name.endswith((".safetensors", ".bin")) and not any(c in name for c in "/\\:\0")


def _is_index(path: Path, first: bytes, last: bytes) -> bool:
    # An index of HDF5 files is TensorFlow's: its reader renames the tensors of all files together.
    return path.name.endswith(".index.json") and not path.name.endswith(".h5.index.json")


register_format(FileFormat((INDEX,), _is_index, ShardedCheckpoint))


# --- saving ---------------------------------------------------------------------------------------


class Selection(TensorReader):
    """Some tensors of another reader, in the given order, read when they are accessed.

    Closing the selection does not close the reader.
    """

    def __init__(self, reader: TensorReader, names: Iterable[str]) -> None:
        self._reader = reader
        self._named = dict.fromkeys(names)
        self.metadata = reader.metadata

    def __getitem__(self, name: str) -> np.ndarray:
        return self._reader[self._own(name)]

    def info(self, name: str) -> TensorInfo:
        """See ``TensorReader.info``."""
        return self._reader.info(self._own(name))

    def read_into(self, name: str, out: np.ndarray) -> None:
        """See ``TensorReader.read_into``."""
        self._reader.read_into(self._own(name), out)

    def stored(self, name: str) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray] | None]:
        """See ``TensorReader.stored``."""
        return self._reader.stored(self._own(name))

    def close(self) -> None:
        """Do nothing: the other reader stays open."""

    def _own(self, name: str) -> str:
        if name not in self._named:
            raise KeyError(f"the selection has no tensor {name!r:.200}")
        return name


def save_shards(
    tensors: Mapping[str, np.ndarray],
    folder: Path,
    in_use: str,
    shards: list[list[str]],
    total_size: int,
    metadata: Mapping[str, str],
    dtype: str | None,
) -> None:
    """Save the tensors that ``shards`` names, a file for each, and the index.

    Files have Hugging Face's names, with a ``-next`` if the old index ``in_use`` has those: so they
    can be moved into the folder before the index, and any program finds the old or the new weights.
    """
    files = dict(zip(_free_names(in_use, len(shards)), shards, strict=True))
    for file, names in files.items():
        save_file(_some(tensors, names), folder / file, metadata, dtype)
    index = {
        "metadata": {"total_size": total_size},
        "weight_map": {name: file for file, names in files.items() for name in names},
    }
    with atomic_write(folder / INDEX, "w") as out:
        json.dump(index, out, indent=2, sort_keys=True, ensure_ascii=False)
        out.write("\n")


def _free_names(in_use: str, count: int) -> list[str]:
    """Return names for `count` shards that the text of an index does not have yet."""
    stem = next((stem for stem in _STEMS if f'"{stem}-0' not in in_use), _STEMS[0])
    return [f"{stem}-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]


def _some(tensors: Mapping[str, np.ndarray], names: list[str]) -> Mapping[str, np.ndarray]:
    """Return some of the tensors; those of a lazy reader are not read."""
    if isinstance(tensors, TensorReader):
        return Selection(tensors, names)
    return {name: tensors[name] for name in names}


def split_into_shards(sizes: dict[str, int], limit: int) -> list[list[str]]:
    """Return the names for each shard, filled greedily in order, as Hugging Face does."""
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
