"""A Megatron-LM BERT that was split over devices, joined.

Each rank has a file: ``mp_rank_01/model_optim_rng.pt`` of tensor-parallel rank 1, with pipeline
parallelism ``mp_rank_01_002/...`` of its stage 2. A stage has consecutive layers, numbered from 0.
Tensor-parallel ranks divide the tables of the vocabulary, the queries, keys and values and the
first linear layer of the MLP by rows, the second layers by columns; all else each of them has. If
there are several stages, the last has a copy of the word embeddings.

A rank has whole heads of the fused queries, keys and values. Their rows are joined like others,
except up to version 0, where all queries come first, then all keys, then all values.

Source: ``get_checkpoint_name`` in ``megatron/checkpointing.py``, and ``tools/checkpoint``, of
https://github.com/NVIDIA/Megatron-LM.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinybert.formats.megatron.names import LAYER, LM_BIAS, WORDS
from tinybert.formats.torch.tensor import LazyTensor
from tinybert.weights.dtypes import FORMATS
from tinybert.weights.reader import TensorInfo

FILE = "model_optim_rng.pt"
MAX_RANKS = 512  # files that are open at once
_FOLDER = re.compile(r"mp_rank_(\d{2,4})(?:_(\d{3,4}))?", re.ASCII)
_FUSED = "attention.query_key_value."
_ROWS = (_FUSED, "mlp.dense_h_to_4h.")
_COLUMNS = ("attention.dense.weight", "mlp.dense_4h_to_h.weight")
_COPY = "word_embeddings_for_head.weight"  # on the last of several stages


def stages_of(path: str) -> list[list[Path]]:
    """Return the files of each stage, in the order of the ranks, from the path of one of them.

    Raises ValueError if a rank is missing, or the folders are those of two saves.
    """
    folder = Path(path).absolute().parent
    if _FOLDER.fullmatch(folder.name) is None:
        return [[Path(path)]]
    found: dict[tuple[int, int], Path] = {}
    pipelined = set()
    for other in folder.parent.iterdir():
        match = _FOLDER.fullmatch(other.name)
        if match and (other / FILE).exists():
            found[int(match[2] or 0), int(match[1])] = other / FILE
            pipelined.add(match[2] is not None)
    if len(pipelined) > 1:
        raise ValueError(f"the folder {folder.parent} has ranks of two saves")
    stages, shards = (1 + max(rank[i] for rank in found) for i in range(2))
    for stage in range(stages):
        for shard in range(shards):
            if (stage, shard) not in found:
                name = f"mp_rank_{shard:02d}" + (f"_{stage:03d}" if True in pipelined else "")
                raise ValueError(
                    f"is one of {stages * shards} parts of a model that was split over devices, "
                    f"and the part {name} is missing from {folder.parent}"
                )
    if len(found) > MAX_RANKS:
        raise ValueError(f"has {len(found)} parts; at most {MAX_RANKS} are read")
    return [[found[stage, shard] for shard in range(shards)] for stage in range(stages)]


class JoinedTensor(NamedTuple):
    """The parts of a tensor as one, with the methods of a LazyTensor.

    Attributes:
        parts: of the tensor-parallel ranks.
        axis: along which they are joined.
        blocks: how many blocks each part has along the axis; the first blocks of all parts come
            first, then the second ones.
    """

    parts: Sequence[LazyTensor]
    axis: int
    blocks: int = 1

    @property
    def info(self) -> TensorInfo:
        """Format, shape and size in bytes of the whole tensor."""
        first = self.parts[0].info
        shape = list(first.shape)
        shape[self.axis] = sum(part.info.shape[self.axis] for part in self.parts)
        width = first.nbytes // max(1, math.prod(first.shape))
        return TensorInfo(first.dtype, tuple(shape), math.prod(shape) * width)

    def read(self) -> np.ndarray:
        """Return the whole tensor, a new array."""
        whole = np.empty(self.info.shape, FORMATS[self.info.dtype].array)
        self.read_into(whole)
        return whole

    def read_into(self, out: np.ndarray) -> None:
        """Fill ``out`` with the whole tensor, cast to its dtype."""
        axis, blocks = self.axis, self.blocks
        before, after = out.shape[:axis], out.shape[axis + 1 :]
        target = out.reshape(*before, blocks, out.shape[axis] // blocks, *after)
        start = 0
        for part in self.parts:
            size = part.info.shape[axis] // blocks
            index = (slice(None),) * (axis + 1) + (slice(start, start + size),)
            array = part.read().reshape(*before, blocks, size, *after)
            np.copyto(target[index], array, casting="same_kind")
            start += size


def joined(stages: Sequence[Sequence[Mapping[str, Any]]], version: float) -> dict[str, Any]:
    """Return the tensors of the whole model, from those of each stage and rank by latest name.

    Raises ValueError for ranks with different tensors, or of shapes that cannot be joined.
    """
    whole: dict[str, Any] = {}
    first = 0  # layer of the stage
    for ranks in stages:
        for rank in ranks[1:]:
            if rank.keys() != ranks[0].keys():
                name = sorted(rank.keys() ^ ranks[0].keys())[0]
                raise ValueError(f"not all parts of a stage have the tensor {name!r:.80}")
        layers = 0
        for name in ranks[0]:
            if name == _COPY and len(stages) > 1:
                continue
            match = LAYER.fullmatch(name)
            layers = max(layers, 1 + int(match[1])) if match else layers
            new = f"layers.{first + int(match[1])}.{match[2]}" if match else name
            if new in whole:
                raise ValueError(f"two stages have the tensor {name!r:.80}")
            whole[new] = _joined(name, [rank[name] for rank in ranks], version)
        first += layers
    return whole


def _joined(name: str, parts: list[LazyTensor], version: float) -> Any:
    if len(parts) == 1:
        return parts[0]
    inner = match[2] if (match := LAYER.fullmatch(name)) else name
    if name in (WORDS, LM_BIAS) or inner.startswith(_ROWS):
        axis = 0
    elif inner in _COLUMNS:
        axis = 1
    else:
        return parts[0]
    rests = {(p.info.dtype, p.info.shape[:axis], p.info.shape[axis + 1 :]) for p in parts}
    if len(rests) > 1 or any(len(p.info.shape) <= axis for p in parts):
        raise ValueError(f"the parts of tensor {name!r:.80} cannot be joined")
    blocks = 3 if inner.startswith(_FUSED) and version == 0 else 1
    if any(part.info.shape[axis] % blocks for part in parts):
        raise ValueError(f"the parts of tensor {name!r:.80} have no queries, keys and values")
    return JoinedTensor(parts, axis, blocks)
