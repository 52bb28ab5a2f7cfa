"""Attention without the attention matrix: exact, a block of queries and keys at a time."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

from tinybert.autograd import Function
from tinybert.backend import array_module, draw_seed, kernels_of, seeded_generator


class ScaledDotProductAttention(Function):
    """y = softmax(query @ key^T * scale + mask) @ value, without ever holding all of the scores.

    Shapes   query (B, H, Tq, K)   key (B, G, Tk, K)   value (B, G, Tk, Kv)   y (B, H, Tq, Kv)
             mask broadcasts to (B, H, Tq, Tk): floating, added to the scores; or boolean, True
             where a query may look (a row that may look nowhere gives zeros)
    Source   Vaswani et al. 2017, arXiv:1706.03762, eq. 1; in blocks: Dao et al. 2022,
             arXiv:2205.14135, algorithm 1; in groups: Ainslie et al. 2023, arXiv:2305.13245
    Oracle   torch.nn.functional.scaled_dot_product_attention

    A softmax over many keys can be summed up block by block. With the largest score seen so far,
    top, and p = exp(S - top), keep total = sum p and gathered = p @ value; when a later block has a
    larger score, what was summed before is multiplied by exp(old top - new top). In the end
    y = gathered / total. Memory grows with the length, not with its square.

    Backward computes the scores S of each block again. With P = exp(S - top) / total:

        dvalue = P^T @ dy          dP = dy @ value^T          dS = P * (dP - rowsum(dy * y))
        dquery = scale * dS @ key          dkey = scale * dS^T @ query

    (rowsum(dP * P), which the softmax's backward asks for, equals rowsum(dy * y).) Saved: top and
    total, (B, H, Tq, 1) each. Dropout on P is drawn again from a seed and the place of the block.

    Keys and values may have fewer heads, G: then R = H / G heads of queries in a row look at the
    same one. Nothing is repeated for that: inside, queries have the axes (B, G, R, Tq, K), and keys
    have an axis of size 1 in the place of R. With `is_causal` query i looks at keys 0 to first + i.
    """

    def forward(
        self, query: Any, key: Any, value: Any, mask: Any = None, *,
        scale: float, dropout_p: float, is_causal: bool, first: int = 0,
    ) -> Any:  # fmt: skip
        self.query, self.key, self.value, self.mask = query, key, value, mask
        self.scale, self.dropout_p, self.is_causal, self.first = scale, dropout_p, is_causal, first
        self.seed = draw_seed() if dropout_p else 0
        xp, kernels = array_module(query), kernels_of(query)
        batch, heads, length, _ = query.shape
        self.groups = key.shape[1]
        lowest = float(xp.finfo(query.dtype).min)
        self.top = xp.full((batch, heads, length, 1), lowest, query.dtype)
        self.total = xp.zeros((batch, heads, length, 1), query.dtype)
        # In memory (B, T, H, K), so that joining the heads afterwards moves nothing.
        self.y = xp.zeros((batch, length, heads, value.shape[-1]), query.dtype).swapaxes(1, 2)
        tops, totals, ys = (self._grouped(array) for array in (self.top, self.total, self.y))
        row_blocks, query_blocks, key_blocks = self._blocks(kernels)

        def some_queries(place: tuple[slice, slice]) -> None:
            rows, queries = place
            at = (rows, slice(None), slice(None), queries)
            top, total, gathered = tops[at], totals[at], ys[at]
            for keys in self._in_sight(key_blocks, queries):
                scores = self._scores(at, keys)  # (rows, G, R, queries, keys)
                higher = xp.maximum(top, scores.max(axis=-1, keepdims=True))
                scores -= higher
                xp.exp(scores, out=scores)
                sums = scores.sum(axis=-1, keepdims=True)
                if dropout_p:
                    scores *= self._keep(scores, at, keys)
                values = value[rows, :, None, keys]
                if keys.start == 0:
                    total[...] = sums
                    xp.matmul(scores, values, out=gathered)
                else:
                    before = xp.exp(top - higher)
                    total *= before
                    total += sums
                    gathered *= before
                    gathered += scores @ values
                top[...] = higher
            total[total == 0] = 1  # a query that may look nowhere has gathered zeros
            gathered /= total

        kernels.for_each(some_queries, list(product(row_blocks, query_blocks)))
        return self.y

    def backward(self, dy: Any) -> Any:
        xp, kernels = array_module(dy), kernels_of(dy)
        query, key, value = self.query, self.key, self.value
        dquery, dkey, dvalue = (_zeros_like_heads(xp, array) for array in (query, key, value))
        queries_in, dqueries, dys, ys, tops, totals = (
            self._grouped(array) for array in (query, dquery, dy, self.y, self.top, self.total)
        )
        row_blocks, query_blocks, key_blocks = self._blocks(kernels)

        def some_heads(place: tuple[slice, slice]) -> None:
            """All blocks of some heads, one after the other: they add to the same dkey."""
            rows, part = place
            for queries in query_blocks:
                at = (rows, part, slice(None), queries)
                products = (dys[at] * ys[at]).sum(axis=-1, keepdims=True)
                for keys in self._in_sight(key_blocks, queries):
                    those = (rows, part, keys)
                    weights = self._scores(at, keys)
                    weights -= tops[at]
                    xp.exp(weights, out=weights)
                    weights /= totals[at]
                    dweights = dys[at] @ value[rows, part, None, keys].swapaxes(-1, -2)
                    dropped = weights
                    if self.dropout_p:
                        keep = self._keep(weights, at, keys)
                        dropped = weights * keep
                        dweights *= keep
                    dvalue[those] += (dropped.swapaxes(-1, -2) @ dys[at]).sum(axis=2)
                    dweights -= products
                    dweights *= weights
                    dweights *= self.scale  # now dS * scale
                    dqueries[at] += dweights @ key[rows, part, None, keys]
                    dkey[those] += (dweights.swapaxes(-1, -2) @ queries_in[at]).sum(axis=2)

        groups = key.shape[1]
        parts = [slice(0, groups)] if len(row_blocks) > 1 else _cut(groups, -(-groups // 4))
        kernels.for_each(some_heads, list(product(row_blocks, parts)))
        return (dquery, dkey, dvalue, None)[: len(self.needs_input_grad)]

    def _blocks(self, kernels: Any) -> tuple[list[slice], list[slice], list[slice]]:
        """Blocks of rows of the batch, of queries and of keys: the fewer queries there are, the
        more keys at once, and the less there is of both, the more rows.
        """
        batch, heads, length, size = self.query.shape
        past = self.key.shape[2]
        queries, keys = kernels.attention_blocks(heads, max(size, self.value.shape[-1]))
        scores = queries * keys
        queries = min(queries, max(length, 1))
        keys = min(scores // queries // keys * keys, max(past, 1))
        rows = max(1, scores // (queries * keys))
        return _cut(batch, rows), _cut(length, queries), _cut(past, keys)

    def _in_sight(self, blocks: list[slice], queries: slice) -> list[slice]:
        """The blocks of keys that some of the queries may look at; at least the first."""
        if not self.is_causal:
            return blocks
        return [b for b in blocks if b.start == 0 or b.start < self.first + queries.stop]

    def _grouped(self, array: Any) -> Any:
        """(B, H, T, K) as (B, G, R, T, K): a view."""
        batch, heads, *rest = array.shape
        return array.reshape(batch, self.groups, heads // max(self.groups, 1), *rest)

    def _scores(self, at: tuple[slice, ...], keys: slice) -> Any:
        """query @ key^T * scale + mask for one block; -inf where a boolean mask forbids to look."""
        xp = array_module(self.query)
        rows, part, _, queries = at
        scaled = self._grouped(self.query)[at] * self.scale
        scores = scaled @ self.key[rows, part, None, keys].swapaxes(-1, -2)
        allowed = None
        if self.is_causal and keys.stop > self.first + queries.start + 1:
            places = xp.arange(self.first + queries.start, self.first + queries.stop)
            allowed = xp.arange(keys.start, keys.stop) <= places[:, None]
        if self.mask is not None:
            block = self._part_of_mask(at, keys)
            if block.dtype.kind == "b":
                allowed = block if allowed is None else block & allowed
            else:
                scores += block
        return scores if allowed is None else xp.where(allowed, scores, -xp.inf)

    def _part_of_mask(self, at: tuple[slice, ...], keys: slice) -> Any:
        """The part of a mask (B or 1, H or 1, Tq or 1, Tk or 1) for one block."""
        mask = self.mask[:, None] if self.mask.shape[1] == 1 else self._grouped(self.mask)
        wanted = zip(mask.shape, (*at, keys), strict=True)
        return mask[tuple(slice(None) if size == 1 else part for size, part in wanted)]

    def _keep(self, scores: Any, at: tuple[slice, ...], keys: slice) -> Any:
        """Dropout factors of one block: 0 with probability p, 1 / (1 - p) otherwise."""
        p = self.dropout_p
        # All heads are drawn, so that it does not matter how many of them a block has.
        drawn = seeded_generator(scores, self.seed, at[0].start, at[3].start, keys.start).random(
            (scores.shape[0], self.groups, *scores.shape[2:]), dtype="float32"
        )[:, at[1]]
        return (drawn >= p).astype(scores.dtype) * (1 / (1 - p) if p < 1 else 0.0)


def default_scale(head_size: int) -> float:
    """1 / sqrt(K): keeps the variance of a score at 1 when queries and keys have variance 1."""
    return 1 / math.sqrt(max(head_size, 1))


def _cut(length: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, length)) for start in range(0, length, max(step, 1))]


def _zeros_like_heads(xp: Any, array: Any) -> Any:
    """Zeros of the shape of `array` (B, H, T, K), laid out as (B, T, H, K)."""
    batch, heads, length, size = array.shape
    return xp.zeros((batch, length, heads, size), array.dtype).swapaxes(1, 2)
