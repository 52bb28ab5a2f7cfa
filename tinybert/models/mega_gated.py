"""MEGA's gated attention: to the sequence itself, over a moving average, and to an encoder.

Shapes   B batch, T tokens, S tokens of an encoder, D hidden, Z features of queries and keys, V of
         values
Names    of parameters: those of transformers' Mega classes, letter for letter
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.models.activations import activation
from tinybert.models.mega_attention import ChunkAttention, Sight, attend_in_chunks
from tinybert.models.mega_bias import RotaryBias, SimpleBias
from tinybert.models.mega_layers import FeatureDropout, SequenceNorm
from tinybert.nn import DampedEMA, Linear, Module, Parameter, init


class LayerCache(NamedTuple):
    """What a layer remembers of the tokens so far; its members, without those that a model has
    not, are a layer's part of `past_key_values`.

    Attributes:
        key, value: (B, S, Z) and (B, S, V) of the open chunk, of all tokens without chunks; None
            where a chunk has just ended.
        state: of the moving average, see `DampedEMA`.
        cross_key, cross_value: (B, S, Z) and (B, S, D) of the encoder's tokens.
        seen: (B,), how many tokens there were; of chunked decoders that look at an encoder.
    """

    key: Tensor | None = None
    value: Tensor | None = None
    state: Tensor | None = None
    cross_key: Tensor | None = None
    cross_value: Tensor | None = None
    seen: Tensor | None = None

    @property
    def open(self) -> int:
        """The number of tokens in the open chunk."""
        return 0 if self.key is None else self.key.shape[1]


class GatedBlock(Module):
    """What both kinds of gated attention share: x + gate * (candidate - x), with a norm before or
    after.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        by_feature = config.use_feature_dropout
        self.norm_first = config.normalize_before_mega
        self.activation = activation(config.activation, "activation")
        self.attention = ChunkAttention(config)
        self.dropout = FeatureDropout(config.dropout_prob, by_feature)
        self.hidden_dropout = FeatureDropout(config.hidden_dropout_prob, by_feature)
        self.norm = SequenceNorm(config)

    def before(self, x: Tensor) -> Tensor:
        """The norm before the block, if it stands there."""
        return self.norm(x) if self.norm_first else x

    def update(self, x: Tensor, gate: Tensor, candidate: Tensor) -> Tensor:
        """x + gate * (dropout(candidate) - x), and the norm after it, if it stands there."""
        y = x + gate * (self.dropout(candidate) - x)
        return y if self.norm_first else self.norm(y)


class MovingAverageGatedAttention(GatedBlock):
    """Queries, keys and gates come from the moving average, values from x itself:

        m = EMA(h),  h = norm(x)                     v = act(h W_v)
        [phi, g, i] = m W_mx + b,  phi = sigmoid(phi),  [z, gate] = silu(g)
        q, k = z * weight_q + bias_q, z * weight_k + bias_k
        y = x + phi * (act(i + (attention(q, k, v) * gate) W_h) - x)

    Source   Ma et al. 2022, arXiv:2209.10655, eq. 7-15
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        hidden, shared = config.hidden_size, config.shared_representation_size
        values = config.intermediate_size
        self.sizes = [hidden, shared, values, hidden]
        self.causal = config.is_decoder
        self.chunk_size = config.chunk_size if config.use_chunking else None
        self.qk_weight = Parameter(init.full((2, shared), 0.0))
        self.qk_bias = Parameter(init.full((2, shared), 0.0))
        self.ema_gate = DampedEMA(
            hidden, config.ema_projection_size, config.bidirectional, config.truncation
        )
        self.v_proj = Linear(hidden, values)
        self.mx_proj = Linear(hidden, sum(self.sizes))
        self.h_proj = Linear(values, hidden)
        self.rel_pos_bias = make_bias(config)

    def forward(
        self, x: Tensor, mask: Any, past: LayerCache, use_cache: bool, want_weights: bool
    ) -> tuple[Tensor, Tensor | None, LayerCache]:
        """x (B, T, D) to (B, T, D), the weights (B, C, Tq, Tk) if wanted, and the new cache.

        mask: boolean array (B, past.open + T), False for padding; or None.
        """
        h = self.before(x)
        remembered = None if mask is None else mask[:, -x.shape[1] :, None]
        m, state = self.ema_gate(h, remembered, past.state, want_state=use_cache)
        phi, z, gate, i = self.mx_proj(self.dropout(m)).split(self.sizes, axis=-1)
        z = F.silu(z)
        query, key = (z * self.qk_weight[n] + self.qk_bias[n] for n in (0, 1))
        value = self.activation(self.v_proj(h))
        if past.key is not None and past.value is not None:
            key = F.concat([past.key, key], axis=1)
            value = F.concat([past.value, value], axis=1)
        context, weights = attend_in_chunks(
            self.attention, self.rel_pos_bias, query, key, value, mask,
            causal=self.causal, size=self.chunk_size, drop_values=self.hidden_dropout,
            want_weights=want_weights,
        )  # fmt: skip
        candidate = self.activation(i + self.h_proj(context * F.silu(gate)))
        y = self.update(x, phi.sigmoid(), candidate)
        return y, weights, LayerCache(*self._open_chunk(key, value), state)

    def _open_chunk(self, key: Tensor, value: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The keys and values that the next token will look at."""
        if self.chunk_size is None:
            return key, value
        ended = key.shape[1] - key.shape[1] % self.chunk_size
        return (None, None) if ended == key.shape[1] else (key[:, ended:], value[:, ended:])


class GatedCrossAttention(GatedBlock):
    """Queries and gates come from x, keys and values from what an encoder gave:

    [r, g, q] = norm(x) W_q + b,  r = sigmoid(r),  g = silu(g)
    k = e W_k,  v = act(e W_v)
    y = x + r * (act((attention(q, k, v) * g) W_h) - x)
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        hidden, shared = config.hidden_size, config.shared_representation_size
        self.sizes = [hidden, hidden, shared]
        self.k_proj = Linear(hidden, shared)
        self.v_proj = Linear(hidden, hidden)
        self.q_proj = Linear(hidden, sum(self.sizes))
        self.h_proj = Linear(hidden, hidden)
        self.rel_pos_bias = make_bias(config)

    def forward(
        self, x: Tensor, memory: Tensor, mask: Any, past: LayerCache, first: int, want_weights: bool
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """x (B, T, D) and memory (B, S, D) to (B, T, D), the weights (B, T, S) if wanted, and the
        keys and values of the memory, which are taken from `past` if they are there.

        Args:
            mask: boolean array (B, S), False for padding; or None.
            first: the position of the first token of x.
        """
        r, gate, query = self.q_proj(self.before(x)).split(self.sizes, axis=-1)
        key, value = past.cross_key, past.cross_value
        if key is None or value is None:
            key, value = self.k_proj(memory), self.activation(self.v_proj(memory))
        sight = Sight(None if mask is None else mask[:, None, None], False, first)
        query, keys, values = (
            part.unsqueeze(1) for part in (query, key, self.hidden_dropout(value))
        )
        context, weights = self.attention(
            query, keys, values, self.rel_pos_bias, sight, want_weights
        )
        candidate = self.activation(self.h_proj(context.squeeze(1) * F.silu(gate)))
        y = self.update(x, r.sigmoid(), candidate)
        return y, None if weights is None else weights.squeeze(1), key, value


def make_bias(config: Any) -> RotaryBias | SimpleBias:
    """The relative bias that the config asks for."""
    if config.relative_positional_bias == "rotary":
        return RotaryBias(config.shared_representation_size)
    return SimpleBias(config.max_positions, config.bias_positions)
