"""MEGA's single-headed attention: softmax, laplace or relu2, with a relative bias, in chunks.

Shapes   B batch, C chunks, Tq queries, Tk keys, Z features of queries and keys, V of values
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.autograd.modes import observer
from tinybert.backend import array_module
from tinybert.models.mega.relative_bias import RotaryBias, SimpleBias
from tinybert.nn import Dropout, Module


class Visible(NamedTuple):
    """The keys that the queries may attend to.

    Attributes:
        mask: a boolean array (B, C, 1, Tk), False for padding; None: no key is padding.
        causal: whether a query attends only to keys up to its own position. The queries are the
            last of the keys.
        first: the position of the first query, for the bias: a number, or one for each row (B,).
    """

    mask: Any = None
    causal: bool = False
    first: Any = 0


class ChunkAttention(Module):
    """Attention weights over all keys of the same chunk, and the weighted sum of the values.

        softmax          softmax(query . key / sqrt(Z) + bias)
        laplace, relu2   f(query . key / count + bias), each weight separately; `count` is the
                         number of keys that the query may attend to (Ma et al. 2022,
                         arXiv:2209.10655, eq. 13-16)

    A masked key has weight 0, and a query whose keys are all masked gives zeros. (In a chunk of
    padding alone softmax ignores the mask, as in transformers.)
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.kind = config.attention_activation
        self.dropout = Dropout(config.attention_probs_dropout_prob)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: RotaryBias | SimpleBias,
        visible: Visible,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Map query (B, C, Tq, Z), key (B, C, Tk, Z) and value (B, C, Tk, V) to the context
        (B, C, Tq, V) and the weights (B, C, Tq, Tk), before dropout, if they are needed.
        """
        if self.kind == "softmax":
            query = query * query.shape[-1] ** -0.5
            if isinstance(bias, RotaryBias) and not need_weights and observer() is None:
                return self._without_weights(query, key, value, bias, visible), None
        else:
            query = query * (1 / _count(key, query.shape[2], visible))
        scores = query @ key.transpose(-1, -2)
        scores = scores + bias(visible.first, query.shape[2], key.shape[2])
        allowed = _allowed(key, query.shape[2], visible)
        if self.kind == "softmax":
            if allowed is not None:
                lowest = float(array_module(scores.data).finfo(scores.dtype).min)
                scores = scores.masked_fill(~allowed, lowest)
            weights = scores.softmax(-1)
        else:
            weights = F.laplace(scores) if self.kind == "laplace" else F.relu2(scores)
        if allowed is not None:
            weights = weights * allowed
        return self.dropout(weights) @ value, weights if need_weights else None

    def _without_weights(
        self, query: Tensor, key: Tensor, value: Tensor, bias: RotaryBias, visible: Visible
    ) -> Tensor:
        """Compute the same in blocks, without a matrix of scores. A rotary bias is a product of two
        vectors; they are appended to queries and keys, so gradients flow back to them.
        """
        of_queries, of_keys = bias.vectors(visible.first, query.shape[2], key.shape[2])
        query = F.concat([query, of_queries.expand(query.shape)], axis=-1)
        key = F.concat([key, of_keys.expand(key.shape)], axis=-1)
        mask, shape = visible.mask, (*query.shape[:3], value.shape[-1])
        dropout_p = self.dropout.p if self.training else 0.0
        # Chunks as rows of the batch are faster: results of heads are interleaved in memory. With
        # dropout they stay heads: ranks that share chunks draw by head (see parallel/streams.py).
        if not dropout_p:
            query, key, value = (x.reshape(-1, 1, *x.shape[2:]) for x in (query, key, value))
            mask = None if mask is None else mask.reshape(-1, 1, *mask.shape[2:])
        y = F.scaled_dot_product_attention(
            query,
            key,
            value,
            None if mask is None else as_tensor(mask),
            dropout_p=dropout_p,
            is_causal=visible.causal,
            first=key.shape[2] - query.shape[2] if visible.causal else 0,
            scale=1.0,
        )
        return y.reshape(*shape)


def _allowed(key: Tensor, queries: int, visible: Visible) -> Any:
    """Return whether a query may attend to a key, broadcasts to (B, C, Tq, Tk); None if all may."""
    if not visible.causal:
        return visible.mask
    xp, keys = array_module(key.data), key.shape[2]
    past = xp.arange(keys) <= (xp.arange(queries) + (keys - queries))[:, None]
    return past if visible.mask is None else visible.mask & past


def _count(key: Tensor, queries: int, visible: Visible) -> Any:
    """Return how many keys a query may attend to, at least 1: broadcasts to (B, C, Tq, 1)."""
    xp, keys = array_module(key.data), key.shape[2]
    if visible.mask is None:
        place = xp.arange(keys - queries, keys)[:, None] + 1
        return place.astype(key.dtype) if visible.causal else float(keys)
    seen = visible.mask.cumsum(axis=-1)  # (B, C, 1, Tk)
    seen = seen[..., keys - queries :].swapaxes(-1, -2) if visible.causal else seen[..., -1:]
    return xp.maximum(seen, 1).astype(key.dtype)


def attend_in_chunks(
    attention: ChunkAttention,
    bias: RotaryBias | SimpleBias,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,
    *,
    causal: bool,
    size: int | None,
    drop_values: Any,
    need_weights: bool,
) -> tuple[Tensor, Tensor | None]:
    """Attend within a sequence, in chunks of `size` tokens, or all at once if None.

    Args:
        query: (B, Tq, Z), of the last Tq of the keys.
        key, value: (B, Tk, Z) and (B, Tk, V); the first key begins a chunk.
        mask: boolean array (B, Tk), False for padding; or None.
        drop_values: the dropout of the values (B, C, T, V).

    Returns the context (B, Tq, V), and the weights (B, C, Tq, Tk), C chunks of equal size, if they
    are needed. A last chunk that is not full is padded with masked tokens.
    """
    length, total = query.shape[1], key.shape[1]
    chunked = size is not None and total > size
    missing = -total % size if chunked and size is not None else 0
    before = total - length if chunked else 0
    if before or missing:
        query = query.pad(((0, 0), (before, missing), (0, 0)))
        key, value = (x.pad(((0, 0), (0, missing), (0, 0))) for x in (key, value))
        mask = _filled(key, mask, missing, causal)
    width = size if chunked else None
    query, key, value = (_split(x, width) for x in (query, key, value))
    if mask is not None:
        mask = mask.reshape(mask.shape[0], key.shape[1], 1, key.shape[2])
        if attention.kind == "softmax":
            mask = mask | ~mask.any(axis=-1, keepdims=True)
    visible = Visible(mask, causal, key.shape[2] - query.shape[2])
    context, weights = attention(query, key, drop_values(value), bias, visible, need_weights)
    joined = context.reshape(context.shape[0], before + length + missing, context.shape[-1])
    return joined[:, before : before + length], weights


def _split(x: Tensor, size: int | None) -> Tensor:
    """Split (B, T, N) into chunks (B, C, size, N)."""
    width = x.shape[1] if size is None else size
    return x.reshape(x.shape[0], x.shape[1] // width, width, x.shape[2])


def _filled(key: Tensor, mask: Any, missing: int, causal: bool) -> Any:
    """Return the mask (B, Tk + missing) for keys padded at the end, the padding masked.

    None stays None for causal attention, which hides later tokens anyway.
    """
    if not missing or (mask is None and causal):
        return mask
    xp, tokens = array_module(key.data), (key.shape[0], key.shape[1] - missing)
    mask = xp.ones(tokens, "bool") if mask is None else mask
    return xp.concatenate([mask, xp.zeros((mask.shape[0], missing), "bool")], axis=1)
