"""The layers of Nemotron, and the angles of its rotary positions.

Shapes   B batch, T tokens, P tokens in the cache, D hidden, H heads, G heads of keys and values,
         K head size, F feed-forward, R rotated features of a head
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.models.activations import activation
from tinybert.models.nemotron.nemotron_config import NemotronConfig
from tinybert.models.stack import LayerOutput
from tinybert.nn import LayerNorm, Linear, Module
from tinybert.nn.attention import attend
from tinybert.nn.cache import LayerCache


class LayerNorm1P(LayerNorm):
    """LayerNorm whose scale is weight + 1: weight decay then pulls the scale to 1, not to 0.

    A fresh weight is 1, as in transformers, so a fresh scale is 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., D) to (..., D)."""
        if x.device != "cpu":  # where each operation is a launch
            return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps, plus=1)
        return F.layer_norm(x, self.normalized_shape, self.weight + 1, self.bias, self.eps)


class NemotronAttention(Module):
    """Causal attention with rotary positions and grouped queries.

    Query heads i H / G to (i + 1) H / G - 1 share head i of the keys and values (Ainslie et al.
    2023, arXiv:2305.13245). The first R features of queries and keys are rotated by their position,
    so a score depends on the distance of two tokens (Su et al. 2021, arXiv:2104.09864).
    """

    def __init__(self, config: NemotronConfig) -> None:
        super().__init__()
        size, bias = config.hidden_size, config.attention_bias
        width, self.dropout = config.head_dim or 0, config.attention_dropout
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.q_proj = Linear(size, self.heads * width, bias)
        self.k_proj = Linear(size, self.groups * width, bias)
        self.v_proj = Linear(size, self.groups * width, bias)
        self.o_proj = Linear(self.heads * width, size, bias)

    def forward(
        self, x: Tensor, call: Any, past: LayerCache | None
    ) -> tuple[Tensor, Tensor | None]:
        """Map x (B, T, D) to (B, T, D), and the weights (B, H, T, P + T) if requested. The keys and
        values of x are appended to `past`.
        """
        query = F.split_heads(self.q_proj(x), self.heads)  # (B, H, T, K)
        key = F.split_heads(self.k_proj(x), self.groups)  # (B, G, T, K)
        value = F.split_heads(self.v_proj(x), self.groups)
        query, key = (F.rotary_embedding(part, *call.rotary) for part in (query, key))
        if past is not None:
            append = type(past).append if call.packing is None else call.packing.append
            key, value = append(past, key, value)  # (B, G, P + T, K)
        context, weights = attend(
            query, key, value, call.mask,
            dropout_p=self.dropout if self.training else 0.0,
            need_weights=call.output_attentions,
            is_causal=call.is_causal,
            first=call.past_length,
            packing=call.packing,
        )  # fmt: skip
        return self.o_proj(F.merge_heads(context)), weights


class NemotronMLP(Module):
    """The feed-forward block: D to F features, squared ReLU (So et al. 2021), and back; no gate."""

    def __init__(self, config: NemotronConfig) -> None:
        super().__init__()
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, config.mlp_bias)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, config.mlp_bias)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        return self.down_proj(self.activation(self.up_proj(x)))


class NemotronLayer(Module):
    """Attention and feed-forward, each on the normalised input and added to it (pre-LN)."""

    def __init__(self, config: NemotronConfig) -> None:
        super().__init__()
        self.self_attn = NemotronAttention(config)
        self.mlp = NemotronMLP(config)
        self.input_layernorm = LayerNorm1P(config.hidden_size, eps=config.norm_eps)
        self.post_attention_layernorm = LayerNorm1P(config.hidden_size, eps=config.norm_eps)

    def forward(
        self, x: Tensor, call: Any, past: LayerCache | None, head_mask: None = None
    ) -> LayerOutput:
        """Map x (B, T, D) to (B, T, D), and the attention weights if requested."""
        context, weights = self.self_attn(self.input_layernorm(x), call, past)
        x = x + context
        return LayerOutput(x + self.mlp(self.post_attention_layernorm(x)), weights)


def rotary_angles(
    config: NemotronConfig, positions: Tensor | None, past: int, length: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return cos and sin of position * theta^(-2 m / R), m = 0 ... R / 2 - 1, concatenated twice.

    Args:
        positions: (B or 1, T), or None for `past`, `past` + 1, ...
        like: has the device and the dtype of the result (B or 1, 1, T, R).

    Angles are rounded to float32, since the models were trained with those: at position 4,000 that
    makes a difference of 1e-4. Source: Su et al. 2021, arXiv:2104.09864, eq. 15.
    """
    # Positions that the host knows are turned into angles there: two copies, not twenty kernels.
    xp = np if positions is None else array_module(like.data)
    rotated = config.features_to_turn  # R, or R - 1 where that is odd
    exponents = xp.arange(0, rotated, 2).astype("float32") / float(max(rotated, 1))
    rates = 1 / (float(config.rope_theta) ** exponents.astype("float64")).astype("float32")
    steps = xp.arange(past, past + length)[None] if positions is None else positions.data
    angles = steps.astype("float32")[:, None, :, None] * rates  # (B or 1, 1, T, R / 2)
    angles = xp.concatenate([angles, angles], axis=-1).astype("float64")
    cos, sin = xp.cos(angles).astype(like.dtype), xp.sin(angles).astype(like.dtype)
    return as_tensor(cos, like.device), as_tensor(sin, like.device)
