"""Checkpoints of a grid: each rank writes its part, and a run resumes on a grid of another shape.

    checkpoint-00000500/
        rank-00000.safetensors ...   the parts of the ranks
        parts.json                   what is in which file
        training_state.json          step, position in the data, ...

A part is an array of one kind (the weight, `exp_avg`, ...) of one parameter: the span that the rank
has of the axis that tensor-parallel ranks divide, or with ZeRO a stretch of that span's numbers in
a row. `parts.json` lists them with the full shape. A reader takes from all files the numbers that
it needs, so a grid of any shape, and one process, can read them.

Rank 0 makes the folder under a temporary name. When all ranks have written their files, it adds the
index, and renames the folder: a checkpoint is there completely or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, no_grad
from tinybert.backend import to_host
from tinybert.optim import Optimizer
from tinybert.parallel.grid import span
from tinybert.parallel.parallelize import Part
from tinybert.parallel.zero import ZeroOptimizer
from tinybert.weights import CheckpointError, load_file, save_file

INDEX = "parts.json"
WEIGHT = "weight"


def write_part(
    folder: Path, part: Part, optimizer: Optimizer, zero: ZeroOptimizer | None
) -> list[dict[str, Any]]:
    """Write this rank's file; return its entries of the index."""
    arrays: dict[str, np.ndarray] = {}
    entries = []
    file = f"rank-{part.grid.world.rank:05}.safetensors"
    for kind, name, stretch, array in _own_arrays(part, optimizer, zero):
        placement, tensor = part.placements[name], part.grid.tensor
        whole = placement.shape if placement.axis is None else None
        first, last = 0, 0
        if placement.axis is not None:
            own = span(placement.shape[placement.axis], tensor.size, tensor.rank)
            first, last = own.start, own.stop
        elif tensor.rank:
            continue  # the first tensor-parallel rank has the same
        key = f"{kind}:{placement.name}:{stretch[0] if stretch else ''}"
        arrays[key] = np.ascontiguousarray(to_host(array))
        entries.append({
            "file": file, "key": key, "kind": kind, "name": placement.name,
            "shape": list(placement.shape), "axis": None if whole else placement.axis,
            "span": [first, last], "stretch": stretch,
        })  # fmt: skip
    save_file(arrays, folder / file)
    return entries


def _own_arrays(
    part: Part, optimizer: Optimizer, zero: ZeroOptimizer | None
) -> Iterator[tuple[str, str, list[int] | None, Any]]:
    """Yield kind, name, stretch (with ZeRO) and array of all that this rank has to write."""
    grid = part.grid
    names = {id(p): name for name, p in part.model.named_parameters()}
    second = part.tied if not grid.is_first else None  # of the first stage's words
    if grid.replicas.rank == 0:
        for name, tensor in part.model.named_state():
            if names.get(id(tensor), name) == name and tensor is not second:
                yield WEIGHT, name, None, tensor.data
    if zero is None:
        for parameter, state in optimizer.state.items():
            if grid.replicas.rank == 0 and parameter is not second:
                for kind, value in state.items():
                    if isinstance(value, Tensor):
                        yield kind, names[id(parameter)], None, value.data
        return
    for own, pieces in zip(zero.parts, zero.pieces, strict=True):
        for kind, value in optimizer.state.get(own, {}).items():
            if isinstance(value, Tensor):
                for parameter, start, stop, at in pieces:
                    if parameter is not second:
                        numbers = value.data[at : at + stop - start]
                        yield kind, names[id(parameter)], [start, stop], numbers


def optimizer_numbers(optimizer: Optimizer) -> dict[str, int]:
    """Return the optimizer's state without its arrays, such as the number of updates."""
    return {
        kind: value
        for state in optimizer.state.values()
        for kind, value in state.items()
        if isinstance(value, int)
    }


class Parts:
    """The arrays of a checkpoint, read from the files of all ranks.

    Raises CheckpointError if the index is damaged, or a number is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            entries = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            self.entries: dict[tuple[str, str], list[dict[str, Any]]] = {}
            for entry in entries:
                self.entries.setdefault((entry["kind"], entry["name"]), []).append(entry)
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(str(folder / INDEX), f"is damaged ({error})") from None
        self._files: dict[str, Mapping[str, np.ndarray]] = {}

    def kinds(self, name: str) -> list[str]:
        """Return the kinds of arrays of a parameter, apart from its weight."""
        return [kind for kind, own in self.entries if own == name and kind != WEIGHT]

    def read(self, kind: str, name: str) -> np.ndarray:
        """Return the full array of a kind and a parameter."""
        entries = self.entries.get((kind, name))
        if not entries:
            raise CheckpointError(str(self.folder), f"lacks the {kind} of the parameter {name}")
        shape, axis = tuple(entries[0]["shape"]), entries[0]["axis"]
        full, found = None, 0
        for entry in entries:
            array = self._array(entry)
            if full is None:
                full = np.zeros(shape, array.dtype)
            target = full
            if axis is not None:
                target = full[(slice(None),) * axis + (slice(*entry["span"]),)]
            found += array.size
            if entry["stretch"] is None:
                target[...] = array
            else:
                flat = np.ascontiguousarray(target).reshape(-1)
                flat[slice(*entry["stretch"])] = array
                target[...] = flat.reshape(target.shape)
        assert full is not None
        if found != full.size:
            raise CheckpointError(
                str(self.folder), f"has {found} of the {full.size} numbers of {kind} of {name}"
            )
        return full

    def _array(self, entry: Mapping[str, Any]) -> np.ndarray:
        file = entry["file"]
        if file not in self._files:
            self._files[file] = load_file(self.folder / file)
        return self._files[file][entry["key"]]


@no_grad()
def read_part(
    parts: Parts, part: Part, optimizer: Optimizer | None, zero: ZeroOptimizer | None,
    numbers: Mapping[str, int],
) -> None:  # fmt: skip
    """Set this rank's weights, and the optimizer's state if it is given."""
    for name, tensor in part.model.named_state():
        tensor.data[...] = own_part(part, name, parts.read(WEIGHT, part.placements[name].name))
        tensor._version.bump("read_part")
    if zero is not None:
        zero.read_weights()
    if optimizer is None:
        return
    optimizer.state = {}
    names = {id(p): name for name, p in part.model.named_parameters()}
    if zero is None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                own = part.placements[names[id(parameter)]].name
                for kind in parts.kinds(own):
                    array = own_part(part, names[id(parameter)], parts.read(kind, own))
                    optimizer.buffer(parameter, kind)[...] = array
                    optimizer.state[parameter].update(numbers)
        return
    for vector, pieces in zip(zero.parts, zero.pieces, strict=True):
        for parameter, start, stop, at in pieces:
            own = part.placements[names[id(parameter)]].name
            for kind in parts.kinds(own):
                array = own_part(part, names[id(parameter)], parts.read(kind, own))
                numbers_of = array.reshape(-1)[start:stop]
                optimizer.buffer(vector, kind)[at : at + stop - start] = numbers_of
                optimizer.state[vector].update(numbers)


def own_part(part: Part, name: str, full: np.ndarray) -> np.ndarray:
    """Return this rank's part of the full array of a parameter."""
    axis, tensor = part.placements[name].axis, part.grid.tensor
    if axis is None:
        return full
    index = span(full.shape[axis], tensor.size, tensor.rank)
    return np.ascontiguousarray(full[(slice(None),) * axis + (index,)])


def gather_model(part: Part) -> dict[str, np.ndarray] | None:
    """Return the full model's parameters by name on rank 0 of the first copy; None elsewhere.

    Each array is sent once, to the rank that needs it.
    """
    grid = part.grid
    if grid.replicas.rank:
        return None
    group = grid.model
    state = {part.placements[name].name: x for name, x in part.model.named_state()}
    holders: dict[str, list[int]] = {}
    for rank, names in enumerate(group.gather_objects(list(state))):
        for name in names:
            holders.setdefault(name, []).append(rank)
    gathered: dict[str, np.ndarray] = {}
    for number, (name, ranks) in enumerate(sorted(holders.items())):
        placement = part.placements[name]
        stage = ranks[: grid.tensor.size]  # tied words are on two stages
        sources = stage if placement.axis is not None else stage[:1]
        if group.rank in sources and group.rank:
            group.send(np.ascontiguousarray(to_host(state[name].data)), 0, number).wait()
        if group.rank == 0:
            arrays = [_piece_of(part, state, name, number, rank) for rank in sources]
            axis = placement.axis
            gathered[name] = arrays[0] if axis is None else np.concatenate(arrays, axis)
    return gathered if group.rank == 0 else None


def _piece_of(part: Part, state: Any, name: str, number: int, rank: int) -> np.ndarray:
    """Return rank's part of a parameter, on rank 0."""
    if rank == 0:
        return to_host(state[name].data)
    placement, tensor = part.placements[name], part.grid.tensor
    shape = list(placement.shape)
    if placement.axis is not None:
        own = span(shape[placement.axis], tensor.size, rank % tensor.size)
        shape[placement.axis] = own.stop - own.start
    return part.grid.model.recv(tuple(shape), part.model.dtype, rank, number)
