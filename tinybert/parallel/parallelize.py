"""`parallelize`: this rank's part of a model.

    grid = Grid(tensor=2, pipeline=2, data=2, world=world)
    part = parallelize(model, grid)         # on every rank, with the same model

Tensor-parallel ranks divide each layer (`shard.py`) and the vocabulary (`embedding.py`,
`words.py`). Stages divide the layers (`stage.py`). Data-parallel ranks have the same part; so have
ranks that divide the tokens of a text (`chunks.py`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

from tinybert.backend import array_module, to_host
from tinybert.models.base import PreTrainedModel
from tinybert.models.heads.words import LanguageModel
from tinybert.nn import Module, Parameter
from tinybert.parallel import conjugate
from tinybert.parallel.chunks import SpreadEMA, spread_chunks
from tinybert.parallel.embedding import VocabularyParallelEmbedding
from tinybert.parallel.grid import Grid
from tinybert.parallel.linear import ColumnParallelLinear, Sharded
from tinybert.parallel.shard import shard_layer
from tinybert.parallel.stage import Inbox, cut_stage
from tinybert.parallel.streams import start_part
from tinybert.parallel.words import divide_words


@dataclass(frozen=True)
class Placement:
    """Where a parameter is: its full shape, and the axis that tensor-parallel ranks divide.

    `name` is the first name of the parameter in the full model; a tied one has several.
    """

    name: str
    shape: tuple[int, ...]
    axis: int | None = None


@dataclass
class Part:
    """This rank's part of a model.

    Attributes:
        model: with the parameters of this rank only. Without pipeline stages it is called as
            before; with stages `step.py` runs it.
        grid: the groups of this rank.
        sequence: whether tensor-parallel ranks divide the tokens between blocks.
        placements: for each name of the full model's state: its shape, and how it is divided.
        partial: parameters whose gradient is the sum over tensor-parallel ranks.
        inbox: where a stage after the first finds its input.
        tied: this rank's copy of the word embeddings, if the first and the last stage have one.
    """

    model: Any
    grid: Grid
    sequence: bool
    placements: dict[str, Placement]
    partial: list[Parameter] = field(default_factory=list)
    inbox: Inbox = field(default_factory=Inbox)
    tied: Parameter | None = None


def parallelize(model: PreTrainedModel, grid: Grid, sequence: bool = False) -> Part:
    """Keep this rank's part of a model, in place, and return it.

    Args:
        model: the full model, the same on every rank.
        grid: tensor and pipeline divide the model.
        sequence: divide the tokens between the blocks among the tensor-parallel ranks. Activations
            then need less memory.

    Raises ValueError if the ranks have different weights, if the model cannot be divided among so
    many ranks, for a model that is divided already, and for one with low-rank adapters.
    """
    if not hasattr(model.base_model, "stack"):
        raise ValueError(f"{type(model).__name__} is not supported on several ranks")
    if model.adapters is not None:
        raise ValueError(
            "low-rank adapters are not supported on several ranks: train all weights, or call "
            "merge_adapters first"
        )
    if any(isinstance(module, (Sharded, SpreadEMA)) for module in model.modules()):
        raise ValueError("the model is divided among ranks already")
    _check_same(model, grid)
    if sequence and grid.tensor.size == 1:
        sequence = False
    state = list(model.named_state())
    first: dict[int, str] = {}
    for name, tensor in state:
        first.setdefault(id(tensor), name)
    known = {name: (first[id(tensor)], tensor.shape) for name, tensor in state}
    part = Part(model, grid, sequence, {})
    tied = cut_stage(model, grid, part.inbox)
    if grid.tensor.size > 1:
        _divide(part)
    if grid.chunks.size > 1:
        spread_chunks(model, grid.chunks)
    _start_streams(part)
    axes = {  # by parameter: a tied one has several names
        id(getattr(module, name)): axis
        for module in model.modules()
        if isinstance(module, Sharded)
        for name, axis in module.axes.items()
    }
    own = {name: axes.get(id(tensor)) for name, tensor in model.named_state()}
    for others in grid.pipeline.gather_objects(own):
        own.update(others)
    part.placements = {name: Placement(*full, own.get(name)) for name, full in known.items()}
    if tied and grid.ends is not None:
        words: Any = model.get_input_embeddings if grid.is_first else model.get_output_embeddings
        part.tied = words().weight
    return part


def _check_same(model: Module, grid: Grid) -> None:
    """Raise unless every rank has the same weights."""
    total = 0
    for name, tensor in model.named_state():
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(array_bytes(tensor.data), total)
    if len(set(grid.world.gather_objects(total))) > 1:
        raise ValueError(
            "the ranks have different weights; load the same model on every rank, or call "
            "manual_seed with the same seed before it is made"
        )


def array_bytes(array: Any) -> memoryview:
    """Return the bytes of an array in C order."""
    host: Any = to_host(array_module(array).ascontiguousarray(array))
    return memoryview(host.reshape(-1)).cast("B")


def _divide(part: Part) -> None:
    """Divide layers and vocabulary among the tensor-parallel ranks."""
    model, grid, sequence = part.model, part.grid, part.sequence
    group, base = grid.tensor, model.base_model
    for layer in base.stack:
        part.partial += shard_layer(layer, group, sequence)
    words = model.get_input_embeddings() if grid.is_first else None
    if words is not None:
        words_part = VocabularyParallelEmbedding(words, group)
        model.set_input_embeddings(words_part)
    head = model.get_output_embeddings() if grid.is_last else None
    if head is not None:
        columns = ColumnParallelLinear(head, group)
        if words is not None and head.weight is words.weight:
            columns.weight = words_part.weight
        model.set_output_embeddings(columns)
        assert isinstance(model, LanguageModel)
        divide_words(model, group)
    if sequence:
        _divide_tokens(part)


def _divide_tokens(part: Part) -> None:
    """Scatter the tokens before the first layer, and collect them after the last norm."""
    group, stack, grid = part.grid.tensor, part.model.base_model.stack, part.grid
    if grid.is_first:
        stack.register_forward_pre_hook(
            lambda module, args: (conjugate.scatter(args[0], group), *args[1:])
        )

    def collected(module: Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden = output.hidden_states
        if hidden is not None:
            hidden = tuple(conjugate.collect(x, group) for x in hidden)
        last = conjugate.collect(output.last_hidden_state, group)
        return output._replace(last_hidden_state=last, hidden_states=hidden)

    if grid.is_last:
        stack.register_forward_hook(collected)
        part.partial += list(last_norm(part.model).parameters())


def last_norm(model: Any) -> Module:
    """Return the norm after the last layer; an empty module in a family without one."""
    base = model.base_model
    owner = base if hasattr(base, "norm") else getattr(base, "encoder", None)
    return getattr(owner, "norm", None) or getattr(owner, "ln", None) or Module()


def _start_streams(part: Part) -> None:
    """Let each part of the model start its stream of random numbers; see `streams.py`."""
    base = part.model.base_model
    embeddings = getattr(base, "embeddings", None) or base.get_input_embeddings()
    device, layers = part.model.device, list(base.stack._modules.items())
    own_tokens = part.sequence
    if part.grid.chunks.size > 1:  # dropout of a feature is the same at all tokens
        own_tokens = not part.model.config.use_feature_dropout

    def starts(number: int, own: bool) -> Any:
        def start(module: Module, *args: Any) -> None:
            tokens = part.grid.tensor.tokens if own and part.sequence else None
            start_part(device, number, own, tokens)

        return start

    embeddings.register_forward_pre_hook(starts(0, False))
    for name, layer in layers:
        layer.register_forward_pre_hook(starts(int(name) + 1, own_tokens))
    head = part.model.config.num_hidden_layers + 1
    base.stack.register_forward_hook(starts(head, False))
