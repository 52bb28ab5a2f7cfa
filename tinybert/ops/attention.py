"""Attention without the attention matrix: exact, a block of queries at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tinybert.autograd import Function
from tinybert.backend import array_module, draw_seed, kernels_of, seeded_generator

# Scores held at once. One block is written, normalised and used while it is still in cache; a
# block is at least one query of one batch row, with all its heads and keys.
BLOCK = 1 << 18


class ScaledDotProductAttention(Function):
    """y = softmax(query @ key^T * scale + mask) @ value, without ever holding all of the scores.

    Shapes   query (B, H, Tq, K)   key (B, H, Tk, K)   value (B, H, Tk, Kv)   y (B, H, Tq, Kv)
             mask broadcasts to (B, H, Tq, Tk): floating, added to the scores; or boolean, True
             where a query may look (a row that may look nowhere gives zeros)
    Source   Vaswani et al. 2017, arXiv:1706.03762, eq. 1
    Oracle   torch.nn.functional.scaled_dot_product_attention

    A row of the softmax needs only its own query and all keys: so queries are taken in blocks, and
    memory grows with the length, not with its square. Backward computes each block again rather
    than keep it. With P = softmax(S), S = scale * query @ key^T + mask:

        dvalue = P^T @ dy          dP = dy @ value^T          dS = P * (dP - rowsum(dP * P))
        dquery = scale * dS @ key          dkey = scale * dS^T @ query

    Dropout on P is drawn again in backward from a seed of the call and the number of the block.
    """

    def forward(
        self, query: Any, key: Any, value: Any, mask: Any = None, *,
        scale: float, dropout_p: float, is_causal: bool,
    ) -> Any:  # fmt: skip
        self.query, self.key, self.value, self.mask = query, key, value, mask
        self.scale, self.dropout_p, self.is_causal = scale, dropout_p, is_causal
        self.seed = draw_seed() if dropout_p else 0
        batch, heads, length, _ = query.shape
        xp = array_module(query)
        # In memory (B, T, H, K), so that joining the heads afterwards moves nothing.
        y = xp.empty((batch, length, heads, value.shape[-1]), query.dtype).swapaxes(1, 2)
        for number, (rows, queries) in enumerate(self._blocks()):
            weights, keep = self._weights(number, rows, queries)
            if keep is not None:
                weights *= keep
            xp.matmul(weights, value[rows], out=y[rows, :, queries])
        return y

    def backward(self, dy: Any) -> Any:
        xp, kernels = array_module(dy), kernels_of(dy)
        query, key, value = self.query, self.key, self.value
        dquery, dkey, dvalue = (_like_heads(xp, array) for array in (query, key, value))
        for number, (rows, queries) in enumerate(self._blocks()):
            weights, keep = self._weights(number, rows, queries)
            dy_block = dy[rows, :, queries]
            dropped = weights if keep is None else weights * keep
            dvalue[rows] += dropped.swapaxes(-1, -2) @ dy_block
            dweights = dy_block @ value[rows].swapaxes(-1, -2)
            if keep is not None:
                dweights *= keep
            dscores = kernels.softmax_backward(weights, dweights)
            dscores *= self.scale
            dquery[rows, :, queries] = dscores @ key[rows]
            dkey[rows] += dscores.swapaxes(-1, -2) @ query[rows, :, queries]
        return (dquery, dkey, dvalue, None)[: len(self.needs_input_grad)]

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Slices of batch rows and of queries, each pair at most BLOCK scores large."""
        batch, heads, length, _ = self.query.shape
        a_query = max(1, heads * self.key.shape[2])
        queries = max(1, min(length, BLOCK // a_query))
        rows = max(1, BLOCK // (a_query * length)) if queries == length else 1
        for row in range(0, batch, rows):
            for start in range(0, length, queries):
                yield slice(row, min(row + rows, batch)), slice(start, min(start + queries, length))

    def _weights(self, number: int, rows: slice, queries: slice) -> tuple[Any, Any]:
        """The softmax weights (rows, H, queries, Tk) of one block, and its dropout factors."""
        xp, kernels = array_module(self.query), kernels_of(self.query)
        keys = self.key[rows].swapaxes(-1, -2)
        scores = (self.query[rows, :, queries] * self.scale) @ keys
        lowest = float(xp.finfo(scores.dtype).min)
        allowed = None
        if self.is_causal:
            place = xp.arange(queries.start, queries.stop)[:, None]
            allowed = xp.arange(scores.shape[-1])[None, :] <= place
        if self.mask is not None:
            part = _part_of(self.mask, rows, queries)
            if part.dtype.kind == "b":
                allowed = part if allowed is None else part & allowed
            else:
                scores += part
        if allowed is None:
            weights = kernels.softmax_(scores)
        else:
            scores = xp.where(allowed, scores, lowest)
            weights = kernels.softmax_(scores)
            weights *= allowed.any(axis=-1, keepdims=True)
        if not self.dropout_p:
            return weights, None
        drawn = seeded_generator(weights, self.seed, number).random(weights.shape, dtype="float32")
        keep = (drawn >= self.dropout_p).astype(weights.dtype)
        keep *= 1 / (1 - self.dropout_p) if self.dropout_p < 1 else 0.0
        return weights, keep


def default_scale(head_size: int) -> float:
    """1 / sqrt(K): keeps the variance of a score at 1 when queries and keys have variance 1."""
    return 1 / math.sqrt(max(head_size, 1))


def _part_of(mask: Any, rows: slice, queries: slice) -> Any:
    """The part of a mask (B or 1, H or 1, Tq or 1, Tk or 1) for one block."""
    mask = mask if mask.shape[0] == 1 else mask[rows]
    return mask if mask.shape[2] == 1 else mask[:, :, queries]


def _like_heads(xp: Any, array: Any) -> Any:
    """Zeros of the shape of `array` (B, H, T, K), laid out as (B, T, H, K)."""
    batch, heads, length, size = array.shape
    return xp.zeros((batch, length, heads, size), array.dtype).swapaxes(1, 2)
