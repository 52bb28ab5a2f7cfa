"""The layers of Nemotron, and the angles by which positions turn queries and keys.

Shapes   B batch, T tokens, P tokens in the cache, D hidden, H heads, G heads of keys and values,
         K head size, F feed-forward, R features that a position turns
"""

from __future__ import annotations

from dataclasses import dataclass

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.models.activations import activation
from tinybert.models.nemotron_config import NemotronConfig
from tinybert.nn import LayerNorm, Linear, Module
from tinybert.nn.attention import attend, merge_heads, split_heads
from tinybert.nn.cache import LayerCache


@dataclass
class Call:
    """What all layers of one call share.

    Attributes:
        cos, sin: (B or 1, 1, T, R) of the angles by which positions turn queries and keys.
        mask: added to the scores, broadcasts to (B, H, T, P + T); or None.
        is_causal: whether attention itself must also hide later tokens, as `mask` does not.
        output_attentions: whether the weights are asked for.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor | None
    is_causal: bool
    output_attentions: bool


class LayerNorm1P(LayerNorm):
    """LayerNorm whose scale is weight + 1, so that weight decay pulls the scale to 1, not to 0.

    A fresh weight is 1, as in transformers: it scales by 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) to (..., D)."""
        return F.layer_norm(x, self.normalized_shape, self.weight + 1, self.bias, self.eps)


class NemotronAttention(Module):
    """Every token gathers from those before it, in H heads that share G heads of keys and values.

    Query heads i H / G to (i + 1) H / G - 1 look at head i of the keys. Positions turn the first R
    features of queries and keys, so that a score depends on their distance alone.
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
        self, x: Tensor, call: Call, past: LayerCache | None
    ) -> tuple[Tensor, Tensor | None]:
        """x (B, T, D) to (B, T, D), and the weights (B, H, T, P + T) if asked for. `past` has the
        keys and values of the P tokens before, and gets those of x.
        """
        query = split_heads(self.q_proj(x), self.heads)  # (B, H, T, K)
        key = split_heads(self.k_proj(x), self.groups)  # (B, G, T, K)
        value = split_heads(self.v_proj(x), self.groups)
        query, key = (F.rotary_embedding(part, call.cos, call.sin) for part in (query, key))
        if past is not None:
            key, value = past.append(key, value)  # (B, G, P + T, K)
        context, weights = attend(
            query, key, value, call.mask,
            dropout_p=self.dropout if self.training else 0.0,
            need_weights=call.output_attentions,
            is_causal=call.is_causal,
            first=key.shape[2] - query.shape[2],
        )  # fmt: skip
        return self.o_proj(merge_heads(context)), weights


class NemotronMLP(Module):
    """The feed-forward block: D to F features, squared ReLU (So et al. 2021), and back; no gate."""

    def __init__(self, config: NemotronConfig) -> None:
        super().__init__()
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, config.mlp_bias)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, config.mlp_bias)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        return self.down_proj(self.activation(self.up_proj(x)))


class NemotronLayer(Module):
    """Attention and feed-forward, each on the normalised input and added to it (pre-LN)."""

    def __init__(self, config: NemotronConfig) -> None:
        super().__init__()
        self.self_attn = NemotronAttention(config)
        self.mlp = NemotronMLP(config)
        self.input_layernorm = LayerNorm1P(config.hidden_size, eps=config.norm_eps)
        self.post_attention_layernorm = LayerNorm1P(config.hidden_size, eps=config.norm_eps)

    def forward(self, x: Tensor, call: Call, past: LayerCache | None) -> tuple[Tensor, ...]:
        """x (B, T, D) to (B, T, D); and the weights, if asked for."""
        context, weights = self.self_attn(self.input_layernorm(x), call, past)
        x = x + context
        x = x + self.mlp(self.post_attention_layernorm(x))
        return (x,) if weights is None else (x, weights)


def rotary_angles(
    config: NemotronConfig, positions: Tensor | None, past: int, length: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """cos and sin of position * theta^(-2 m / R), m = 0 ... R / 2 - 1, twice side by side.

    Args:
        positions: (B or 1, T), or None for `past`, `past` + 1, ...
        like: has the device and the dtype of the result (B or 1, 1, T, R).

    Angles are rounded to float32, since it is with those that models were trained: at position
    4,000 that makes a difference of 1e-4. Source: Su et al. 2021, arXiv:2104.09864, eq. 15.
    """
    xp = array_module(like.data)
    turned = config.features_to_turn  # R, or R - 1 where that is odd
    exponents = xp.arange(0, turned, 2).astype("float32") / float(max(turned, 1))
    rates = 1 / (float(config.rope_theta) ** exponents.astype("float64")).astype("float32")
    places = xp.arange(past, past + length)[None] if positions is None else positions.data
    angles = places.astype("float32")[:, None, :, None] * rates  # (B or 1, 1, T, R / 2)
    angles = xp.concatenate([angles, angles], axis=-1).astype("float64")
    return as_tensor(xp.cos(angles).astype(like.dtype)), as_tensor(
        xp.sin(angles).astype(like.dtype)
    )
