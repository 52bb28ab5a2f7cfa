"""MEGA's gated attention: to the sequence itself, over a moving average, and to an encoder.

Shapes   B batch, T tokens, S tokens of an encoder, D hidden, Z features of queries and keys, V of
         values
Names    of parameters: those of transformers' Mega classes, letter for letter
"""

from __future__ import annotations

from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.models.activations import activation
from tinybert.models.mega.chunk_attention import ChunkAttention, Visible, attend_in_chunks
from tinybert.models.mega.feed_forward import FeatureDropout, SequenceNorm
from tinybert.models.mega.mega_cache import MegaLayerCache
from tinybert.models.mega.relative_bias import RotaryBias, SimpleBias
from tinybert.nn import DampedEMA, Linear, Module, Parameter, init


class GatedBlock(Module):
    """The parts of both kinds of gated attention: x + gate * (candidate - x), with a norm before or
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
        """Apply the norm, if the config puts it before the block."""
        return self.norm(x) if self.norm_first else x

    def update(self, x: Tensor, gate: Tensor, candidate: Tensor) -> Tensor:
        """Return x + gate * (dropout(candidate) - x), normalised if the norm comes after it."""
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

    def forward(self, x: Tensor, call: Any, past: MegaLayerCache) -> tuple[Tensor, Tensor | None]:
        """Map x (B, T, D) to (B, T, D), and the weights (B, C, Tq, Tk) if requested; update `past`.

        The call's mask is a boolean array (B, P + T), False for padding, with the P tokens of the
        current chunk that are in `past`; or None.
        """
        h, mask, packing = self.before(x), call.mask, call.packing
        steps = h if packing is None else packing.unpack(h)
        real = None if mask is None else mask[:, -steps.shape[1] :, None]
        m, past.state = self.ema_gate(steps, real, past.state, want_state=call.use_cache)
        m = m if packing is None else packing.pack(m)
        phi, z, gate, i = self.mx_proj(self.dropout(m)).split(self.sizes, axis=-1)
        z = F.silu(z)
        query, key = (z * self.qk_weight[n] + self.qk_bias[n] for n in (0, 1))
        value = self.activation(self.v_proj(h))
        if packing is not None:
            query, key, value = map(packing.unpack, (query, key, value))
        key, value = past.tokens.append(key, value)
        if self.chunk_size is not None:
            past.keep_last(key.shape[1] % self.chunk_size)
        context, weights = attend_in_chunks(
            self.attention, self.rel_pos_bias, query, key, value, mask,
            causal=self.causal, size=self.chunk_size, drop_values=self.hidden_dropout,
            need_weights=call.output_attentions,
        )  # fmt: skip
        context = context if packing is None else packing.pack(context)
        candidate = self.activation(i + self.h_proj(context * F.silu(gate)))
        return self.update(x, phi.sigmoid(), candidate), weights


class GatedCrossAttention(GatedBlock):
    """Queries and gates come from x, keys and values from an encoder's output e:

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

    def forward(self, x: Tensor, call: Any, past: MegaLayerCache) -> tuple[Tensor, Tensor | None]:
        """Map x (B, T, D) to (B, T, D), and the weights (B, T, S) if requested. Keys and values of
        the encoder's states (B, S, D) are computed once and kept in `past`.

        The call's encoder_mask is a boolean array (B, S), False for padding; or None.
        """
        r, gate, query = self.q_proj(self.before(x)).split(self.sizes, axis=-1)
        if past.cross_key is None or past.cross_value is None:
            past.cross_key = self.k_proj(call.encoder_states)
            past.cross_value = self.activation(self.v_proj(call.encoder_states))
        mask = call.encoder_mask
        visible = Visible(None if mask is None else mask[:, None, None], False, first(call, past))
        query, key, value = (
            part.unsqueeze(1)
            for part in (query, past.cross_key, self.hidden_dropout(past.cross_value))
        )
        context, weights = self.attention(
            query, key, value, self.rel_pos_bias, visible, call.output_attentions
        )
        candidate = self.activation(self.h_proj(context.squeeze(1) * F.silu(gate)))
        y = self.update(x, r.sigmoid(), candidate)
        return y, None if weights is None else weights.squeeze(1)


def first(call: Any, past: MegaLayerCache) -> Any:
    """Return the position of the first token of a call, counted from the first token of its row
    that is not padding: a number, or an array (B,) if rows differ, below 0 where the row of the
    call begins with padding.
    """
    mask, past_seen = call.mask, past.seen
    if past_seen is not None:  # the mask begins with the current chunk, `seen` counts all tokens
        seen = past_seen.data
        if mask is None:
            return seen
        return array_module(mask).where(seen > 0, seen, -_padding(mask[:, -call.shape[1] :]))
    if mask is None or bool(mask[:, 0].all()):
        return call.past_length
    return call.past_length - _padding(mask)


def _padding(mask: Any) -> Any:
    """Return the number of tokens (B,) before the first one that is not padding."""
    return array_module(mask).where(mask.any(axis=1), mask.argmax(axis=1), mask.shape[1])


def count_seen(call: Any, past: MegaLayerCache) -> None:
    """Add the tokens of a call to `past.seen`; padding on the left does not count."""
    batch, length = call.shape
    xp = array_module(past.cross_key.data)  # type: ignore[union-attr]
    after = xp.zeros(batch, "int64") + first(call, past) + length
    past.seen = as_tensor(xp.maximum(after, 0))


def make_bias(config: Any) -> RotaryBias | SimpleBias:
    """Return the relative bias that the config names."""
    if config.relative_positional_bias == "rotary":
        return RotaryBias(config.shared_representation_size)
    return SimpleBias(config.max_positions, config.bias_positions)
