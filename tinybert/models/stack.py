"""`Stack`: the layers of a model, run in sequence. All families run their layers here.

It collects hidden states and attention weights, passes each layer its part of the cache, and
recomputes layers in backward (gradient checkpointing).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from tinybert.autograd import Tensor, is_grad_enabled
from tinybert.models.recompute import recomputed
from tinybert.nn import Module, ModuleList


class LayerOutput(NamedTuple):
    """The output of one layer: hidden states (B, T, D), and attention weights if requested."""

    hidden_states: Tensor
    attentions: Tensor | None = None
    cross_attentions: Tensor | None = None


class StackOutput(NamedTuple):
    """The output of all layers; None for outputs that the call did not request.

    Attributes:
        last_hidden_state: (B, T, D), after the last layer and the norm.
        hidden_states: L + 1 tensors (B, T, D): the input of each layer, and last_hidden_state.
        attentions, cross_attentions: L tensors (B, H, T, keys) of attention weights.
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Any, ...] | None
    cross_attentions: tuple[Any, ...] | None


class Stack(ModuleList):
    """L layers. A layer is a module of (x, call, past, head_mask) that returns a LayerOutput.

    Attributes:
        gradient_checkpointing: in training, compute each layer again in backward instead of keeping
            its intermediate results (Chen et al. 2016, arXiv:1604.06174).
    """

    def __init__(self, layers: Iterable[Module] = ()) -> None:
        super().__init__(layers)
        self.gradient_checkpointing = False

    @property
    def recomputes(self) -> bool:
        """Whether backward will compute the layers again."""
        return self.gradient_checkpointing and self.training and is_grad_enabled()

    def forward(self, x: Tensor, call: Any, norm: Module | None = None) -> StackOutput:
        """Run x (B, T, D) through all layers, and through `norm` if there is one.

        Each layer appends its new keys and values to its part of the call's cache.
        """
        run: Any = recomputed if self.recomputes else Module.__call__
        nothing = [None] * len(self)
        pasts = nothing if call.cache is None else call.cache.layers
        hidden_states, attentions, cross_attentions = [x], [], []
        for layer, past, head_mask in zip(self, pasts, call.head_masks or nothing, strict=True):
            x, weights, cross_weights = run(layer, x, call, past, head_mask)
            attentions.append(weights)
            cross_attentions.append(cross_weights)
            if call.output_hidden_states:
                hidden_states.append(x)
        if norm is not None:
            x = hidden_states[-1] = norm(x)
        if call.packing is not None:
            x, *hidden_states = map(call.packing.unpack, (x, *hidden_states))
        asked, cross = call.output_attentions, call.encoder_states is not None
        return StackOutput(
            last_hidden_state=x,
            hidden_states=tuple(hidden_states) if call.output_hidden_states else None,
            attentions=tuple(attentions) if asked else None,
            cross_attentions=tuple(cross_attentions) if asked and cross else None,
        )
