"""Packed batches: gathering the tokens in one row, attention within its segments, and the way back.

`tinybert.nn.packing` says what they are for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, array_module, backend_of, draw_seed
from tinybert.ops.arguments import as_floating, converted, widened
from tinybert.ops.attention import Visibility, attention_backward, attention_forward
from tinybert.ops.embedding import check_range


class PackTokens(Function):
    """y[0, n] = x[index[n]], with the B T tokens of x numbered row by row.

    Shapes   x (B, T, ...)   index (N,) distinct integers   y (1, N, ...)
    Oracle   x.reshape(B * T, ...)[index][None]

        dx[index[n]] = dy[0, n], and 0 for the other tokens
    """

    def forward(self, x: Any, index: Any) -> Any:
        self.shape, self.index = x.shape, index
        return _gathered(x, index)

    def backward(self, dy: Any) -> Any:
        return _scattered(dy, self.index, self.shape), None


class UnpackTokens(Function):
    """y[index[n]] = x[0, n], with the B T tokens of y numbered row by row, and 0 at the others.

    Shapes   x (1, N, ...)   index (N,) distinct integers   y (B, T, ...)
    Oracle   y = zeros(B * T, ...); y[index] = x[0]

        dx[0, n] = dy[index[n]]
    """

    def forward(self, x: Any, index: Any, *, shape: tuple[int, int]) -> Any:
        self.index = index
        return _scattered(x, index, (*shape, *x.shape[2:]))

    def backward(self, dy: Any) -> Any:
        return _gathered(dy, self.index), None


def _gathered(x: Array, index: Array) -> Array:
    rows = x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
    return array_module(x).take(rows, index, axis=0)[None]


def _scattered(x: Array, index: Array, shape: tuple[int, ...]) -> Array:
    y = array_module(x).zeros((shape[0] * shape[1], *shape[2:]), x.dtype)
    y[index] = x[0]
    return y.reshape(shape)


class SegmentAttention(Function):
    """y = softmax(query @ key^T * scale) @ value, separately within each segment of one row.

    `segments` lists (count, length): `count` segments of `length` tokens, then those of the next
    length. Segments of one length are a batch (count, H, length, K), a view of the row. Formula,
    gradients, dropout and grouped heads are those of `ScaledDotProductAttention`.

    Shapes   query (1, H, N, K)   key (1, G, N, K)   value (1, G, N, Kv)   y (1, H, N, Kv)
    Source   Vaswani et al. 2017, arXiv:1706.03762, eq. 1
    Oracle   torch.nn.functional.scaled_dot_product_attention, segment by segment

    With the weights P of a segment, dP = dy @ value^T and dS = P * (dP - rowsum(dy * y)):

        dvalue = P^T @ dy          dquery = scale * dS @ key          dkey = scale * dS^T @ query
    """

    def forward(
        self, query: Any, key: Any, value: Any, *,
        segments: Sequence[tuple[int, int]], scale: float, dropout_p: float, is_causal: bool,
    ) -> Any:  # fmt: skip
        query, key, value = map(as_floating, (query, key, value))
        self.dtype, self.scale = query.dtype, scale
        query, key, value = self.inputs = tuple(widened(x) for x in (query, key, value))
        self.views, start = [], 0
        for count, length in segments:
            self.views.append(partial(_segments, key.shape[1], start, count, length))
            start += count * length
        self.seen = [
            Visibility(None, is_causal, 0, dropout_p, draw_seed() if dropout_p else 0)
            for _ in segments
        ]
        self.saved: list[Any] = [None] * len(self.views)
        y = _empty_heads(query, value.shape[-1])

        def attend(number: int) -> None:
            view = self.views[number]
            self.saved[number] = found = attention_forward(
                view(query), view(key), view(value), self.scale, self.seen[number]
            )
            view(y)[...] = found[0]

        backend_of(query).for_each(attend, range(len(self.views)))
        return converted(y, self.dtype)

    def backward(self, dy: Any) -> Any:
        dy = dy.astype(self.inputs[0].dtype, copy=False)
        gradients = tuple(_empty_heads(x, x.shape[-1]) for x in self.inputs)

        def attend(number: int) -> None:
            view = self.views[number]
            query, key, value = map(view, self.inputs)
            found = attention_backward(
                query, key, value, self.scale, self.seen[number], view(dy), *self.saved[number]
            )
            for gradient, values in zip(gradients, found, strict=True):
                view(gradient)[...] = values

        backend_of(dy).for_each(attend, range(len(self.views)))
        return tuple(converted(gradient, self.dtype) for gradient in gradients)


def _segments(groups: int, start: int, count: int, length: int, x: Array) -> Array:
    """Return some segments of heads (1, H, N, K) as (count, G, H / G, length, K), a view."""
    _, heads, _, size = x.shape
    part = x[0, :, start : start + count * length]
    shape = (groups, heads // groups, count, length, size)
    return part.reshape(shape).transpose(2, 0, 1, 3, 4)


def _empty_heads(x: Array, size: int) -> Array:
    """Return an empty array (1, H, N, size), in memory (1, N, H, size): merging heads is free."""
    _, heads, length, _ = x.shape
    return array_module(x).empty((1, length, heads, size), x.dtype).swapaxes(1, 2)


def pack_tokens(input: Any, places: Any) -> Tensor:
    """Return the tokens of `input` (B, T, ...) at `places` (N,), numbers b T + t, as (1, N, ...).

    Raises ValueError for places outside 0 to B T - 1. Places must be distinct.
    """
    x = as_tensor(input)
    places = as_tensor(places, x.device).data
    check_range(places, x.shape[0] * x.shape[1], "places")
    return PackTokens.apply(x, places)


def unpack_tokens(input: Any, places: Any, shape: tuple[int, int]) -> Tensor:
    """Return `input` (1, N, ...) as (B, T, ...), `shape` being (B, T): token n at places[n], a
    number b T + t, and zeros elsewhere.

    Raises ValueError for other shapes and for places outside 0 to B T - 1. Places must be distinct.
    """
    x = as_tensor(input)
    places = as_tensor(places, x.device).data
    if x.shape[:2] != (1, *places.shape):
        raise ValueError(
            "unpack_tokens: expected input (1, N, ...) and N places, got "
            f"{x.shape} and {places.shape}"
        )
    check_range(places, shape[0] * shape[1], "places")
    return UnpackTokens.apply(x, places, shape=tuple(shape))


def segment_attention(
    query: Any,
    key: Any,
    value: Any,
    segments: Sequence[tuple[int, int]],
    dropout_p: float = 0.0,
    is_causal: bool = False,
) -> Tensor:
    """Return the attention of one row of N tokens to itself, within its segments.

    Args:
        query: (1, H, N, K).
        key, value: (1, G, N, K) and (1, G, N, Kv); R = H / G consecutive query heads share a head.
        segments: (count, length) of consecutive segments; count * length adds up to N.
        dropout_p: probability of dropping a weight; 0 except in training.
        is_causal: a token attends to itself and to earlier ones only.
    """
    query, key, value = as_tensor(query), as_tensor(key), as_tensor(value)
    (heads, length, size), groups = (*query.shape, 0, 0, 0, 0)[1:4], (*key.shape, 0, 0)[1]
    if (
        query.shape != (1, heads, length, size)
        or key.shape != (1, groups, length, size)
        or value.shape[:-1] != key.shape[:3]
        or not groups
        or heads % groups
        or sum(count * tokens for count, tokens in segments) != length
    ):
        raise ValueError(
            "segment_attention: expected query (1, H, N, K), key (1, G, N, K) and value "
            "(1, G, N, Kv), H a multiple of G, and segments of N tokens, got "
            f"{query.shape}, {key.shape}, {value.shape} and {list(segments)}"
        )
    return SegmentAttention.apply(
        query,
        key,
        value,
        segments=segments,
        scale=1 / math.sqrt(max(size, 1)),
        dropout_p=dropout_p,
        is_causal=is_causal,
    )
