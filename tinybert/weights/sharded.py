"""A checkpoint in several files, safetensors or PyTorch's, held together by an index: one reader
over all of them.

The index is JSON, ``{"metadata": {...}, "weight_map": {tensor name: file name}}``. It is believed
only where the files agree with it.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.formats.detect import open_file
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import TensorInfo, TensorReader
from tinybert.weights.strict_json import parse_json

MAX_INDEX = 100_000_000  # bytes, as for the header of one file


class ShardedCheckpoint(TensorReader):
    """Every shard that an index names, opened and checked against it; tensors are read when asked
    for.

    Tensors come shard by shard, in each shard's own order. ``metadata`` is that of the first
    shard. Shards lie in the index's own folder (they may be symbolic links, as in the cache of
    the Hugging Face Hub). Raises CheckpointError for a malformed index, a file name that is a
    path, a missing shard, a tensor that is missing, unlisted, or in two shards.
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
                        self._beside(shard), f"lacks tensor {name!r}, which the index places in it"
                    )
            self._files = opened.pop_all()
        first = next(iter(self._home.values()), None)
        self.metadata = dict(first.metadata) if first else {}
        self.format = f"sharded {first.format}" if first else "sharded"

    def _beside(self, shard: str) -> Path:
        return Path(self.path).parent / shard

    def _open(self, shard: str) -> TensorReader:
        try:
            return open_file(self._beside(shard))
        except FileNotFoundError:
            raise CheckpointError(
                self._beside(shard), "is missing: the index names it; fetch the whole folder again"
            ) from None

    def _adopt(self, file: TensorReader, shard: str, weight_map: dict[str, str]) -> None:
        for name in file:
            if name in self._home:
                raise CheckpointError(
                    self._beside(shard), f"holds tensor {name!r}, as does another shard"
                )
            listed = weight_map.get(name)
            if listed != shard:
                where = f"places in {listed}" if listed else "does not list"
                raise CheckpointError(
                    self._beside(shard), f"holds tensor {name!r}, which the index {where}"
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
        """Format, shape and size in bytes of a tensor; its data are not touched."""
        return self._shard(name).info(name)

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` with a tensor, cast to its dtype; see ``TensorReader.read_into``."""
        self._shard(name).read_into(name, out)

    def _shard(self, name: str) -> TensorReader:
        if name not in self._home:
            raise KeyError(f"{self.path} has no tensor {name!r}")
        return self._home[name]


def _read_index(path: Path) -> dict[str, str]:
    """The checked weight map of an index file."""
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
                f"bad index: tensor {name!r} lies in {shard!r:.80}, which is no plain file name",
            )
    return weight_map


def _is_plain_name(name: str) -> bool:
    # Separators and drive letters of every system, so that a folder means the same on each.
    return name.endswith((".safetensors", ".bin")) and not any(c in name for c in "/\\:\0")
