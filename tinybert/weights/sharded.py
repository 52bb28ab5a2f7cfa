"""Checkpoints of several files (shards), safetensors or PyTorch's, and the index that lists them.

The index is JSON, ``{"metadata": {...}, "weight_map": {tensor name: file name}}``. It is checked
against the files.
"""

import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.weights.atomic import atomic_write
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import (
    FileFormat,
    TensorInfo,
    TensorReader,
    open_stored,
    register_format,
)
from tinybert.weights.safetensors import save_file
from tinybert.weights.strict_json import parse_json

INDEX = "model.safetensors.index.json"
MAX_INDEX = 100_000_000  # bytes, as for the header of one file
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
        self._home: dict[str, TensorReader] = {}
        with ExitStack() as opened:
            for shard in sorted(set(weight_map.values())):
                file = opened.enter_context(self._open(shard))
                self._adopt(file, shard, weight_map)
            for name, shard in weight_map.items():
                if name not in self._home:
                    raise CheckpointError(
                        self._beside(shard),
                        f"lacks tensor {name!r}, which the index expects in it",
                    )
            self._files = opened.pop_all()
        first = next(iter(self._home.values()), None)
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
            if name in self._home:
                raise CheckpointError(
                    self._beside(shard), f"has tensor {name!r}, and another shard has it too"
                )
            listed = weight_map.get(name)
            if listed != shard:
                where = f"expects in {listed}" if listed else "does not list"
                raise CheckpointError(
                    self._beside(shard), f"has tensor {name!r}, which the index {where}"
                )
            self._home[name] = file

    def mapped(self, name: str) -> np.ndarray | None:
        """See ``TensorReader.mapped``."""
        return self._shard(name).mapped(name)

    def stored(self, name: str) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray] | None]:
        """See ``TensorReader.stored``."""
        return self._shard(name).stored(name)

    def close(self) -> None:
        """Close every shard. Arrays that were handed out stay valid."""
        self._files.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __len__(self) -> int:
        return len(self._home)

    def __contains__(self, name: object) -> bool:
        return name in self._home

    def __getitem__(self, name: str) -> np.ndarray:
        return self._shard(name)[name]

    def info(self, name: str) -> TensorInfo:
        """Return format, shape and size of a tensor without reading its data."""
        return self._shard(name).info(name)

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` with a tensor, cast to its dtype; see ``TensorReader.read_into``."""
        self._shard(name).read_into(name, out)

    def _shard(self, name: str) -> TensorReader:
        if name not in self._home:
            raise KeyError(f"{self.path} has no tensor {name!r}")
        return self._home[name]


def _read_index(path: Path) -> dict[str, str]:
    """Return the checked weight map of an index file."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise CheckpointError(path, "is not a regular file")
    if path.stat().st_size > MAX_INDEX:
        raise CheckpointError(path, f"is over the {MAX_INDEX} bytes allowed for an index")
    try:
        content: Any = parse_json(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(path, f"bad index: {error}") from None
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict):
        raise CheckpointError(path, "bad index: it must be a JSON object with a weight_map object")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not _is_plain_name(shard):
            raise CheckpointError(
                path,
                f"bad index: the file of tensor {name!r} is {shard!r:.80}, not a plain file name "
                "that ends in .safetensors or .bin",
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
        self._names = dict.fromkeys(names)
        self.metadata = reader.metadata

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

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
        if name not in self._names:
            raise KeyError(f"the selection has no tensor {name!r}")
        return name


def save_shards(
    tensors: Mapping[str, np.ndarray],
    folder: Path,
    shards: list[list[str]],
    total_size: int,
    metadata: Mapping[str, str],
    dtype: str | None,
) -> set[str]:
    """Save the tensors that ``shards`` names, a file for each, then the index; return the files.

    Files have Hugging Face's names, with a ``-next`` if the old index uses those.
    """
    files = dict(zip(_free_names(folder, len(shards)), shards, strict=True))
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as unfinished:
        for file, names in files.items():
            save_file(_some(tensors, names), Path(unfinished, file), metadata, dtype)
        for file in files:
            os.replace(Path(unfinished, file), folder / file)
    index = {
        "metadata": {"total_size": total_size},
        "weight_map": {name: file for file, names in files.items() for name in names},
    }
    with atomic_write(folder / INDEX, "w") as out:
        json.dump(index, out, indent=2, sort_keys=True, ensure_ascii=False)
        out.write("\n")
    return set(files)


def _free_names(folder: Path, count: int) -> list[str]:
    """Return names for `count` shards that the folder's index does not use yet."""
    index = folder / INDEX
    in_use = index.read_text("utf-8", errors="replace") if index.is_file() else ""
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
