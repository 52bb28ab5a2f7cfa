"""Nemotron: a decoder with squared ReLU, grouped queries, and rotary positions.

Source   Parmar et al. 2024, arXiv:2402.16819; pruned to Minitron: Muralidharan et al. 2024,
         arXiv:2407.14679
Oracle   transformers' NemotronModel; parameter names are the same, letter for letter
Shapes   B batch, T tokens, P tokens in the cache, D hidden, H heads, G heads of keys and values,
         K head size, L layers
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.log import warn_once
from tinybert.models.arguments import integers
from tinybert.models.base import PreTrainedModel
from tinybert.models.call import BaseModel, Call
from tinybert.models.config import PretrainedConfig
from tinybert.models.nemotron.nemotron_config import NemotronConfig, check_config
from tinybert.models.nemotron.nemotron_layers import LayerNorm1P, NemotronLayer, rotary_angles
from tinybert.models.past_key_values import CacheShape
from tinybert.models.stack import Stack
from tinybert.nn import Embedding, KeyValueCache
from tinybert.outputs import BaseModelOutputWithPast


class NemotronPreTrainedModel(PreTrainedModel):
    """What all Nemotron models share: their config, and how they are called."""

    config_class: ClassVar[type[PretrainedConfig]] = NemotronConfig
    base_model_prefix: ClassVar[str] = "model"
    supports_gradient_checkpointing: ClassVar[bool] = True
    config: Any

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model. Each class accepts the arguments that its signature lists.

        Args:
            input_ids: (B, T) token ids; or `inputs_embeds` (B, T, D), word embeddings.
            attention_mask: (B, P + T), 1 for tokens and 0 for padding; P is the number of tokens in
                `past_key_values`. Later tokens are hidden as well. A mask (B, T, P + T) or
                (B or 1, H or 1, T, P + T) is used as it is, and must hide them itself; with four
                axes it holds booleans, True where a query may attend, or floats to add to the
                scores. Padding gets zeros, or is computed: see `nn/packing.py`.
            position_ids: (B, T) or (1, T); P, P + 1, ... by default, also where there is padding.
            past_key_values: the cache of an earlier call: a KeyValueCache, which is changed, or a
                tuple, which is not. `input_ids` are then the new tokens only.
            labels, start_positions, end_positions: the targets, for the loss; see the class
                and its `answer`.
            use_cache: whether `past_key_values` are returned; the config's value if None.
            output_attentions, output_hidden_states: return what every layer computed; the config's
                values if None.
            return_dict: return a ModelOutput (True) or a plain tuple; the config's value if None.
            cache_position: (T,), the positions of the new tokens: P, P + 1, ...

        All may be Tensors, arrays or lists. Raises ValueError or TypeError naming the argument for
        wrong shapes and dtypes, and ids out of range.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define forward")


class NemotronModel(NemotronPreTrainedModel, BaseModel):
    """Nemotron without a head: token ids in, features out.

    Calling it returns BaseModelOutputWithPast, or a plain tuple of the fields that are not None.
    Raises ValueError for options that are out of range or contradict each other.
    """

    def __init__(self, config: NemotronConfig) -> None:
        super().__init__(config)
        check_config(config)
        size, heads = config.hidden_size, config.num_attention_heads + config.num_key_value_heads
        per_layer = size * (2 * heads * (config.head_dim or 0) + 2 * config.intermediate_size)
        self.reserve(size * config.vocab_size, per_layer)
        if getattr(config, "rope_scaling", None):
            warn_once("rope_scaling has no effect on a Nemotron, here as in transformers 4")
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = Stack(NemotronLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = LayerNorm1P(config.hidden_size, eps=config.norm_eps)
        self.init_weights()

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
        inputs_embeds=None, use_cache=None, output_attentions=None, output_hidden_states=None,
        return_dict=None, cache_position=None,
    ) -> Any:  # fmt: skip
        call = self.read_call(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
            past_key_values=past_key_values, inputs_embeds=inputs_embeds, use_cache=use_cache,
            output_attentions=output_attentions, output_hidden_states=output_hidden_states,
            return_dict=return_dict,
        )  # fmt: skip
        _check_cache_position(cache_position, call)
        x = call.inputs_embeds
        if x is None:
            x = self.embed_tokens(call.input_ids, name="input_ids")  # (B, T, D)
        angles = rotary_angles(
            self.config, call.position_ids, call.past_length, x.shape[1], self.norm.weight
        )
        run = self.layers(x, replace(call, rotary=angles), norm=self.norm)
        output = BaseModelOutputWithPast(
            run.last_hidden_state, call.new_cache(), run.hidden_states, run.attentions
        )
        output.packing = call.packing
        return output if call.return_dict else output.to_tuple()

    # --- parts ------------------------------------------------------------------------------------

    def get_input_embeddings(self) -> Embedding:
        """Return the word embeddings."""
        return self.embed_tokens

    def set_input_embeddings(self, embeddings: Embedding) -> None:
        """Replace the word embeddings."""
        self.embed_tokens = embeddings

    # --- reading a call ---------------------------------------------------------------------------

    @property
    def is_decoder(self) -> bool:
        """Always true."""
        return True

    def make_cache(self, limit: int | None = None) -> KeyValueCache:
        """Return an empty cache, to pass as `past_key_values`."""
        return KeyValueCache(len(self.layers), limit=limit)

    def cache_shape(self, batch: int) -> CacheShape:
        """Return the sizes of the cache for a batch."""
        config = self.config
        heads = [layer.self_attn.groups for layer in self.layers]
        return CacheShape(batch, heads, config.head_dim or 0)

    def read_attention_mask(self, mask: Tensor | None, call: Call) -> tuple[Tensor | None, bool]:
        """Return `mask` and `is_causal` of a Call; a mask of four axes is used as it is."""
        if mask is not None and mask.ndim == 4:
            (batch, length), heads = call.shape, self.config.num_attention_heads
            shape = batch, heads, length, call.past_length + length
            return _four_axes(mask, shape, self.dtype), False
        return super().read_attention_mask(mask, call)


def _four_axes(mask: Tensor, shape: tuple[int, ...], dtype: Any) -> Tensor:
    """Return a mask of four axes as numbers to add to the scores."""
    outer, inner = mask.shape[:2], mask.shape[2:]
    if inner != shape[2:] or any(n not in (1, m) for n, m in zip(outer, shape, strict=False)):
        raise ValueError(f"attention_mask must broadcast to {shape}, got {mask.shape}")
    if mask.dtype.kind == "b":
        lowest = float(array_module(mask.data).finfo(dtype).min)
        return as_tensor((~mask.data).astype(dtype) * lowest)
    if mask.dtype.kind != "f":
        raise TypeError(
            "attention_mask of four axes must be boolean, True where a query may attend, or "
            f"floats to be added to the scores, got {mask.dtype}"
        )
    wrong = mask.data[~(mask.data < np.inf)]  # NaN too
    if wrong.size:
        raise ValueError(f"attention_mask must not hold {wrong[0].item()}")
    ones = mask.data == 1
    if bool(ones.any()) and bool((ones | (mask.data == 0)).all()):
        raise ValueError(
            "attention_mask of four axes and floats is added to the scores, where ones and zeros "
            "hide nothing; give booleans, True where a query may attend"
        )
    return mask.to(dtype)


def _check_cache_position(given: Any, call: Call) -> None:
    if given is None:
        return
    (_, length), past = call.shape, call.past_length
    positions = integers("cache_position", given, "cpu")
    if positions.tolist() != list(range(past, past + length)):
        raise ValueError(
            f"cache_position must be {length} consecutive numbers from {past}, as past_key_values "
            f"holds {past} tokens, got {positions.tolist()}"
        )
