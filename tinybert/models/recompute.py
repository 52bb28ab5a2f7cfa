"""Save memory in a layer: compute it again in backward instead of keeping its intermediate results
(gradient checkpointing), or compute a part of the tokens at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor, checkpoint
from tinybert.nn import Module
from tinybert.nn.cache import LayerCache


def recomputed(
    layer: Module, x: Tensor, call: Any, past: LayerCache | None, head_mask: Tensor | None
) -> tuple[Any, ...]:
    """Return the parts of the layer's output; backward computes its intermediate results again.

    Both runs start from the same past, so each appends to its own copy of the cache. All tensors
    that may need a gradient are inputs of `checkpoint`: x, head mask, encoder's states, cache.
    """
    states = call.encoder_states
    given = [tensor for tensor in (head_mask, states) if tensor is not None]
    cached = () if past is None else past.members
    modes = [(part, part.training) for part in layer.modules()]
    first = True

    def function(x: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        nonlocal first
        now, first = nullcontext() if first else _in_modes(modes), False
        rest = iter(inputs)
        factors = None if head_mask is None else next(rest)
        again = replace(call, encoder_states=None if states is None else next(rest))
        with now:
            output = layer(x, again, LayerCache(*rest), factors)
        return tuple(part for part in output if part is not None)

    parts = iter(checkpoint(function, x, *given, *cached, parameters=layer.parameters()))
    weights = call.output_attentions
    asked = (True, weights, weights and states is not None)
    return tuple(next(parts) if present else None for present in asked)


@contextmanager
def _in_modes(modes: list[tuple[Module, bool]]) -> Iterator[None]:
    """Give each module the training mode of the first run, and its own one again at the end."""
    changed = [(part, part.training) for part, mode in modes if part.training != mode]
    try:
        for part, _ in changed:
            part.__dict__["training"] = not part.training
        yield
    finally:
        for part, mode in changed:
            part.__dict__["training"] = mode


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """Return `function(x)` for x (B, T, D), computed `size` tokens at a time to save memory.

    Raises ValueError if `size` does not divide T.
    """
    if x.shape[1] % size:
        raise ValueError(
            f"the sequence length {x.shape[1]} must be a multiple of chunk_size_feed_forward {size}"
        )
    return F.concat([function(part) for part in x.split(size, axis=1)], axis=1)
