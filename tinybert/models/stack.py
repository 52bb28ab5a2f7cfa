"""The stack of layers: run them one after the other and collect what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tinybert import functional as F
from tinybert.autograd import Tensor, checkpoint, is_grad_enabled
from tinybert.models.attention import CallInputs
from tinybert.nn import Module, ModuleList
from tinybert.nn.cache import LayerCache


class LayerResult(NamedTuple):
    """What a layer gives: the new hidden states (B, T, D), and what the call asked for."""

    hidden_states: Tensor
    attentions: Tensor | None
    cross_attentions: Tensor | None


@dataclass
class EncoderRun:
    """What a run through all layers gave; None for what was not asked for.

    Attributes:
        hidden_states: L + 1 tensors (B, T, D), the input first; the last is what the encoder gives.
        attentions, cross_attentions: L tensors (B, H, T, Tk).
    """

    hidden_states: tuple[Tensor, ...]
    attentions: tuple[Tensor, ...] | None
    cross_attentions: tuple[Tensor, ...] | None


class Encoder(Module):
    """L layers, one after the other.

    Attributes:
        gradient_checkpointing: compute the layers again in backward instead of keeping what they
            need for it; in training only.
    """

    def __init__(self, layers: Iterable[Module]) -> None:
        super().__init__()
        self.layer = ModuleList(layers)
        self.gradient_checkpointing = False

    def forward(
        self,
        x: Tensor,
        call: CallInputs,
        head_masks: list[Tensor | None],
        past: Sequence[LayerCache | None],
    ) -> EncoderRun:
        """x (B, T, D) through all layers; head masks and caches have one member for each. What is
        new is added to the caches, unless the layers are computed again in backward.
        """
        run = _checkpointed if self.computes_again else _plainly
        hidden_states, results = [x], []
        for layer, head_mask, cache in zip(self.layer, head_masks, past, strict=True):
            result = run(layer, x, call, head_mask, cache)
            x = result.hidden_states
            hidden_states.append(x)
            results.append(result)
        hidden_states[-1] = self.finish(x)
        asked = call.output_attentions
        return EncoderRun(
            hidden_states=tuple(hidden_states),
            attentions=_collect(results, "attentions") if asked else None,
            cross_attentions=_collect(results, "cross_attentions")
            if asked and call.memory is not None
            else None,
        )

    @property
    def computes_again(self) -> bool:
        """Whether backward will compute the layers again."""
        return self.gradient_checkpointing and self.training and is_grad_enabled()

    def finish(self, x: Tensor) -> Tensor:
        """The norm after the last layer, in a family that has one there."""
        return x


def _collect(results: list[LayerResult], name: str) -> tuple[Any, ...]:
    return tuple(getattr(result, name) for result in results)


def _plainly(layer: Module, x: Tensor, call: CallInputs, *rest: Any) -> LayerResult:
    return layer(x, call, *rest)


def _checkpointed(
    layer: Module, x: Tensor, call: CallInputs, head_mask: Tensor | None, past: LayerCache | None
) -> LayerResult:
    """The layer's result, without what its backward needs: that is computed again, from the same
    past, so each run adds to a cache of its own.
    """
    memories = [] if call.memory is None else [call.memory]
    members = () if past is None else past.members

    def function(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        memory, parts = (others[0], others[1:]) if memories else (None, others)
        result = layer(x, replace(call, memory=memory), head_mask, LayerCache(*parts))
        return tuple(part for part in result if part is not None)

    outputs = iter(checkpoint(function, x, *memories, *members, parameters=layer.parameters()))
    present = (True, call.output_attentions, call.output_attentions and bool(memories))
    return LayerResult(*(next(outputs) if there else None for there in present))  # type: ignore[arg-type]


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """`function` of x (B, T, D), a chunk of `size` tokens at a time: the same numbers in less
    memory. All at once if `size` is 0; ValueError if it does not divide T.
    """
    if not size:
        return function(x)
    if x.shape[1] % size:
        raise ValueError(
            f"the sequence length {x.shape[1]} must be a multiple of chunk_size_feed_forward {size}"
        )
    return F.concat([function(part) for part in x.split(size, axis=1)], axis=1)
