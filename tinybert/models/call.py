"""`Call`: the checked arguments of one call of a model without a head.

`BaseModel.read_call` checks every argument of a call and collects what the layers need in one
frozen `Call`: tensors on the model's device, masks that attention can add, flags that are True or
False. The layers never use the raw arguments.

Shapes   B batch, T tokens, P tokens in the cache, D hidden, H heads, L layers, S encoder tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tinybert.autograd import Tensor
from tinybert.backend import parse_device
from tinybert.display import warn_caller
from tinybert.models.arguments import choose, read_ids, read_tokens
from tinybert.models.base import PreTrainedModel
from tinybert.models.masks import causal_mask, padding_mask, read_mask, to_scores
from tinybert.models.past_key_values import CacheShape, read_cache, read_encoder_states
from tinybert.models.stack import Stack
from tinybert.models.surgery import read_head_mask
from tinybert.nn.packing import PADDED, pack_call


@dataclass(frozen=True)
class Call:
    """The arguments of one call, checked, in the form that the layers take.

    Attributes:
        input_ids: (B, T) integers; None if there are inputs_embeds.
        inputs_embeds: (B, T, D) word embeddings; None if there are input_ids.
        token_type_ids, position_ids: (B or 1, T) integers; None for the default.
        mask: to add to the scores of self-attention, broadcasts to (B, H, T, P + T); or None. MEGA
            has booleans (B, P + T), False for padding.
        is_causal: whether attention itself must hide later tokens, because `mask` does not.
        head_masks: a factor (1, H, 1, 1) for each layer, or None.
        encoder_states: (B, S, D), what cross-attention attends to; or None.
        encoder_mask: as `mask`, over the S tokens of the encoder.
        cache: keys and values of the P earlier tokens, by layer; None without a cache.
        past_length: P, as it was before the layers append to the cache.
        past_key_values: the argument as it was given.
        use_cache: whether the call returns the cache.
        output_attentions, output_hidden_states, return_dict: the call's options, or the config's.
        rotary: cos and sin (B or 1, 1, T, R) of rotary positions, in families that have them.
        packing: a Packing of the N real tokens: the inputs are then one row, (1, N); or None.
    """

    input_ids: Tensor | None
    inputs_embeds: Tensor | None
    token_type_ids: Tensor | None
    position_ids: Tensor | None
    mask: Any
    is_causal: bool
    head_masks: Sequence[Tensor] | None
    encoder_states: Tensor | None
    encoder_mask: Any
    cache: Any
    past_length: int
    past_key_values: Any
    use_cache: bool
    output_attentions: bool
    output_hidden_states: bool
    return_dict: bool
    rotary: tuple[Tensor, Tensor] | None = None
    packing: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, T)."""
        if self.packing is not None:
            return self.packing.shape
        tokens = self.input_ids if self.input_ids is not None else self.inputs_embeds
        return tokens.shape[:2]  # type: ignore[union-attr]

    def new_cache(self) -> Any:
        """Return `past_key_values` for the output: the given cache, else a tuple for each layer."""
        if not self.use_cache:
            return None
        return self.cache if self.cache is self.past_key_values else tuple(self.cache)


class BaseModel(PreTrainedModel):
    """A model without a head: token ids in, features out.

    A family adds its embeddings, its layers and its `forward`; the methods below define its masks
    and its cache.
    """

    config: Any
    layers: Stack

    @property
    def stack(self) -> Stack:
        """The layers of the model."""
        return self.layers

    def read_call(
        self,
        *,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Call:
        """Check all arguments of a call and return them as a `Call`.

        Raises ValueError or TypeError naming the argument for wrong shapes, dtypes and lengths.
        """
        config, device, dtype = self.config, self.device, self.dtype
        name, tokens = read_tokens(input_ids, inputs_embeds, config.hidden_size, device, dtype)
        batch, length = tokens.shape[:2]
        use_cache = self._keeps_cache(use_cache)
        cache = self.read_cache(past_key_values, use_cache, batch)
        past_length = 0 if cache is None else cache.length
        self.check_length(name, length, past_length)
        heads = None if head_mask is None else read_head_mask(config, head_mask, device, dtype)
        states, encoder_mask = encoder_hidden_states, None
        if states is not None:
            states = read_encoder_states(self, states, batch)
        if states is not None and encoder_attention_mask is not None:
            encoder_mask = self.read_encoder_mask(encoder_attention_mask, states, length)
        if attention_mask is not None:
            attention_mask = read_mask("attention_mask", attention_mask, device)
        call = Call(
            input_ids=tokens if name == "input_ids" else None,
            inputs_embeds=tokens if name == "inputs_embeds" else None,
            token_type_ids=read_ids("token_type_ids", token_type_ids, batch, length, device),
            position_ids=read_ids("position_ids", position_ids, batch, length, device),
            mask=None,
            is_causal=False,
            head_masks=heads,
            encoder_states=states,
            encoder_mask=encoder_mask,
            cache=cache,
            past_length=past_length,
            past_key_values=past_key_values,
            use_cache=use_cache,
            output_attentions=choose(output_attentions, config.output_attentions),
            output_hidden_states=choose(output_hidden_states, config.output_hidden_states),
            return_dict=choose(return_dict, config.return_dict),
        )
        if attention_mask is not None and not PADDED.get():
            call = pack_call(self, call, attention_mask)
        mask, is_causal = self.read_attention_mask(attention_mask, call)
        return replace(call, mask=mask, is_causal=is_causal)

    # --- what a family defines --------------------------------------------------------------------

    @property
    def is_decoder(self) -> bool:
        """Whether a token attends only to earlier ones, and a cache can be kept."""
        return self.config.is_decoder

    def cache_shape(self, batch: int) -> CacheShape:
        """Return the sizes of the cache for a batch."""
        raise NotImplementedError

    def read_cache(self, given: Any, use_cache: bool, batch: int) -> Any:
        """Return the cache of a call, or None; see `past_key_values.read_cache`."""
        if given is None and not use_cache:
            return None
        if not self.is_decoder:
            raise ValueError("past_key_values is for decoders; set is_decoder=True")
        return read_cache(given, use_cache, self.cache_shape(batch), self.device, self.dtype)

    def check_length(self, name: str, length: int, past: int) -> None:
        """Raise ValueError if `length` tokens after `past` cached ones are too many."""

    def needs_matrix(self, call: Call) -> bool:
        """Return whether attention computes all weights: the mask must hold the causal rule."""
        return call.output_attentions or call.head_masks is not None

    def read_attention_mask(self, mask: Tensor | None, call: Call) -> tuple[Any, bool]:
        """Return `mask` and `is_causal` of a Call, from a mask (B, P + T), 1 for tokens and 0 for
        padding; or (B, T, P + T), which replaces the causal mask of a decoder; or None.
        """
        (batch, length), allowed = call.shape, None
        keys = call.past_length + length
        if mask is not None:
            allowed = padding_mask("attention_mask", mask, batch, length, keys, self.dtype)
            if mask.ndim == 3:
                return to_scores(allowed), False
        if self.is_decoder and call.packing is None:
            xp = parse_device(self.device)[0].xp
            return causal_mask(allowed, length, keys, self.dtype, xp, self.needs_matrix(call))
        if allowed is None or call.packing is not None:
            return None, self.is_decoder
        if self.device == "cpu" and bool((allowed == 1).all()):  # a GPU would have to wait for it
            return None, self.is_decoder
        return to_scores(allowed), False

    def read_encoder_mask(self, mask: Any, states: Tensor, length: int) -> Any:
        """Return `encoder_mask` of a Call from a mask (B, S) or (B, T, S)."""
        name, (batch, keys) = "encoder_attention_mask", states.shape[:2]
        given = read_mask(name, mask, self.device)
        return to_scores(padding_mask(name, given, batch, length, keys, self.dtype))

    # --- parts of read_call -----------------------------------------------------------------------

    def _keeps_cache(self, asked: bool | None) -> bool:
        keeps = self.is_decoder and choose(asked, self.config.use_cache)
        if keeps and self.stack.recomputes:
            warn_caller("use_cache is off: gradient checkpointing keeps no cache")
            return False
        return keeps
