"""A NeMo model that was split over devices, joined.

NeMo saves a file for each rank, in a folder with its name: ``mp_rank_01``, or with pipeline
parallelism ``tp_rank_01_pp_rank_000``. A pipeline stage has consecutive layers, numbered from 0.
Within a stage, tensor parallelism splits the tables of the vocabulary and the first linear layer of
attention and MLP by rows, the second by columns; every rank has a copy of all other tensors. The
fused queries, keys and values are split between groups, so their rows are joined like others. If
the output layer is tied to the embedding, the last of several stages has a copy of it. Rows that
pad the vocabulary to a multiple of the ranks are kept, as in a model of one file.

Sources: ``megatron/core/tensor_parallel/layers.py`` of https://github.com/NVIDIA/Megatron-LM, and
``NLPSaveRestoreConnector`` in ``nemo/collections/nlp/parts/nlp_overrides.py`` of
https://github.com/NVIDIA/NeMo.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinybert.checks import check_integer
from tinybert.display import short_repr
from tinybert.formats.difference import EQUAL, difference
from tinybert.formats.nemo.checkpoint import EMBEDDING, IGNORED, PREFIX
from tinybert.formats.torch.file import TorchFile
from tinybert.weights.errors import CheckpointError
from tinybert.weights.reader import TensorInfo, TensorReader

MAX_RANKS = 512  # files that are open at once; the largest published models have 280
STAGES, SHARDS = "pipeline_model_parallel_size", "tensor_model_parallel_size"
TIED = "share_embeddings_and_output_weights"
INTERLEAVED = "virtual_pipeline_model_parallel_size"

_FOLDER = re.compile(r"mp_rank_(\d{2,4})|tp_rank_(\d{2,4})_pp_rank_(\d{3,4})", re.ASCII)
_LAYER = re.compile(r"(?<=decoder\.layers\.)\d{1,9}(?=\.)", re.ASCII)
_OUTPUT = "output_layer.weight"
# The tensors that are split, and along which axis.
_AXES = {
    EMBEDDING: 0,
    _OUTPUT: 0,
    "linear_qkv.weight": 0,
    "linear_qkv.bias": 0,
    "linear_fc1.weight": 0,
    "linear_fc1.bias": 0,
    "linear_proj.weight": 1,
    "linear_fc2.weight": 1,
}


def rank_of(folder: str) -> tuple[int, int] | None:
    """Return the pipeline rank and the tensor-parallel rank in a folder's name, None for others."""
    match = _FOLDER.fullmatch(folder)
    return match and (int(match[3] or 0), int(match[1] or match[2]))


def stages_of(folders: Collection[str], options: Mapping[str, Any]) -> list[list[str]]:
    """Return the folders of each pipeline stage, both in the order of the ranks.

    Raises ValueError, naming the folder or the option, for a rank that is missing, ranks of two
    saves, and a layout that is not supported.
    """
    found = {rank: folder for folder in sorted(folders) if (rank := rank_of(folder))}
    pipelined = any(folder.startswith("tp") for folder in folders)
    for rank, folder in found.items():
        if len(found) < len(set(folders)) or folder != _name(*rank, pipelined):
            raise ValueError(f"has folders of two saves: {', '.join(sorted(folders)):.200}")
    stages, shards = (
        _size(option, options.get(option), 1 + max(rank[i] for rank in found))
        for i, option in enumerate((STAGES, SHARDS))
    )
    if len(found) < stages * shards:
        every = ((stage, shard) for stage in range(stages) for shard in range(shards))
        missing = next(rank for rank in every if rank not in found)
        raise ValueError(
            f"lacks {stages * shards - len(found)} of {stages * shards} ranks; the first is "
            f"{_name(*missing, stages > 1)}"
        )
    if len(found) > MAX_RANKS:
        raise ValueError(f"has {len(found)} ranks; at most {MAX_RANKS} are read")
    if stages > 1 and options.get(INTERLEAVED) not in (None, 1):
        raise ValueError(
            f"{INTERLEAVED} is {short_repr(options[INTERLEAVED])}, but interleaved pipeline stages "
            "are not supported: save the model without this option"
        )
    return [[found[stage, shard] for shard in range(shards)] for stage in range(stages)]


def _name(stage: int, shard: int, pipelined: bool) -> str:
    return f"tp_rank_{shard:02d}_pp_rank_{stage:03d}" if pipelined else f"mp_rank_{shard:02d}"


def _size(option: str, given: Any, least: int) -> int:
    """Return the size that the options give, or without the option the one of the folders."""
    if given is None:
        return least
    check_integer(option, given, 1)
    if given < least:
        raise ValueError(f"{option} is {given}, but there are folders of {least} ranks")
    return int(given)


class _Part(NamedTuple):
    """One rank's tensor: its file, and its name there."""

    file: TorchFile
    name: str

    @property
    def info(self) -> TensorInfo:
        return self.file.info(self.name)


class SplitCheckpoint(TensorReader):
    """The files of all ranks as one, with NeMo's names of the whole model; read on access.

    Args:
        path: the archive or folder, for errors.
        stages: the files of each pipeline stage, in the order of the ranks; `close` closes them.
        tied: whether the output layer is the embedding.

    Raises CheckpointError for ranks that do not match each other: in names, shapes and formats when
    it is opened, in the values of tensors that every rank has when they are read.
    """

    format = "NeMo"

    def __init__(self, path: str, stages: Sequence[Sequence[TorchFile]], tied: bool) -> None:
        self.path, self.metadata = path, {}
        self._files = [file for stage in stages for file in stage]
        # The parts of a tensor in their order, and for each part its copies.
        self._named: dict[str, list[list[_Part]]] = {}
        layers = 0
        for stage in stages:
            layers += self._adopt(stage, layers)
        outputs = [name for name in self._named if name.removeprefix(PREFIX) == _OUTPUT]
        for name in outputs if tied and len(stages) > 1 else ():
            embedding = self._named.get(name.replace(_OUTPUT, EMBEDDING), [])
            copies = self._named.pop(name)
            for part, copy in zip(embedding, copies, strict=False):
                part += copy
                _check_alike(part)

    def _adopt(self, stage: Sequence[TorchFile], begin: int) -> int:
        """Add the tensors of a stage, whose first layer is layer `begin`; return its layers."""
        names = _names(stage[0])
        for file in stage[1:]:
            for name in sorted(_names(file) ^ names):
                fault = f"has a tensor {name!r:.120}, which {stage[0].path} lacks"
                if name in names:
                    fault = f"lacks tensor {name!r:.120}, which {stage[0].path} has"
                raise CheckpointError(file.path, fault)
        layers = {int(match[0]) for name in names if (match := _LAYER.search(name))}
        if layers and max(layers) >= len(layers):
            raise CheckpointError(
                stage[0].path, f"has {len(layers)} layers, which are not numbered from 0"
            )
        for name in stage[0]:
            if name not in names:
                continue
            whole = _LAYER.sub(lambda match: str(int(match[0]) + begin), name)
            if whole in self._named:
                other = self._named[whole][0][0].file.path
                raise CheckpointError(
                    stage[0].path, f"has a tensor {name!r:.120}, which {other} has too"
                )
            parts = [_Part(file, name) for file in stage]
            _check_alike(parts)
            axis = _axis(name)
            if axis is not None and len(parts[0].info.shape) <= axis:
                shape = parts[0].info.shape
                raise CheckpointError(stage[0].path, f"tensor {name!r:.120} has shape {shape}")
            self._named[whole] = [parts] if axis is None else [[part] for part in parts]
        return len(layers)

    def info(self, name: str) -> TensorInfo:
        """Return format, shape and size of a joined tensor, without reading its data."""
        parts = self._named[name]
        dtype, shape, nbytes = parts[0][0].info
        axis = _axis(name) or 0
        if len(parts) > 1:
            shape = (*shape[:axis], shape[axis] * len(parts), *shape[axis + 1 :])
        return TensorInfo(dtype, shape, nbytes * len(parts))

    def __getitem__(self, name: str) -> np.ndarray:
        arrays = [self._checked(copies) for copies in self._named[name]]
        if len(arrays) == 1:
            return arrays[0]
        array = np.concatenate(arrays, axis=_axis(name) or 0)
        array.flags.writeable = False
        return array

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Fill ``out`` with a joined tensor, cast to its dtype."""
        if out.shape != (shape := self.info(name).shape):
            raise ValueError(f"tensor {name!r:.120} has shape {shape}, out has {out.shape}")
        parts = self._named[name]
        # Splits without a copy: filling the parts of `out` fills `out`.
        areas = np.split(out, len(parts), axis=_axis(name) or 0) if len(parts) > 1 else [out]
        for copies, area in zip(parts, areas, strict=True):
            if len(copies) > 1:
                self._checked(copies)
            copies[0].file.read_into(copies[0].name, area)

    def close(self) -> None:
        """Close all files. Arrays that were returned stay valid."""
        for file in self._files:
            file.close()

    def _checked(self, copies: Sequence[_Part]) -> np.ndarray:
        """Return a part. Raises CheckpointError unless all its copies are equal."""
        first, *others = copies
        array = first.file[first.name]
        for other in others:
            if difference(array, other.file[other.name]) != EQUAL:
                raise CheckpointError(
                    other.file.path,
                    f"tensor {other.name!r:.120} must equal {first.name!r:.120} of "
                    f"{first.file.path}, and does not",
                )
        return array


def _axis(name: str) -> int | None:
    """Return the axis along which a tensor is split, None for one that every rank has."""
    short = name.removeprefix(PREFIX)
    return _AXES.get(short, _AXES.get(".".join(short.split(".")[-2:])))


def _names(file: TorchFile) -> set[str]:
    return {name for name in file if not name.endswith(IGNORED)}


def _check_alike(parts: Sequence[_Part]) -> None:
    """Raise CheckpointError unless the tensors of all ranks have one shape and format."""
    first = parts[0]
    for part in parts[1:]:
        if part.info != first.info:
            raise CheckpointError(
                part.file.path,
                f"tensor {part.name!r:.120} is {part.info.dtype} of shape {part.info.shape}, but "
                f"{first.file.path} has {first.info.dtype} of shape {first.info.shape}",
            )
