"""Attention over the whole batch: a product, one kernel for mask, softmax and dropout, a product.

The scores of up to `SCORES` pairs of a query and a key are in memory at once: all of a usual batch,
else some rows of it, else some queries. A query always meets all its keys at once, so nothing is
summed up over blocks of keys. For float16 scores and their sums are float32, and the weights that
multiply the values are float16. Dropout is drawn by position, the same in any blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import cupy
import numpy as np

from tinybert.backend.cuda.elements import random_code
from tinybert.backend.cuda.launch import contiguous, elementwise, on_rows, wide
from tinybert.backend.cuda.products import batched, has_one_stride, joined

Array = Any

SCORES = 1 << 27  # 0.5 GiB of float32 in forward, twice as much in backward


class Part(NamedTuple):
    """The rows of the batch, the queries and the keys that are computed at once."""

    rows: slice
    queries: slice
    keys: slice


def attention_input(x: Array) -> Array:
    """Return x (B, H, T, K) with its matrices at one distance in memory, as cuBLAS reads them."""
    return x if has_one_stride(x) else contiguous(x)


def attention_forward(
    query: Array, key: Array, value: Array, scale: float, seen: Any
) -> tuple[Array, Array, Array]:
    """Return y (B, G, R, Tq, Kv), top and total (B, G, R, Tq, 1)."""
    query, key, value = _alike(query, key, value)
    lead, dtype = query.shape[:-1], query.dtype
    if not key.shape[-2]:  # a query without keys gives zeros
        lowest = float(np.finfo(wide(dtype)).min)
        y, total = cupy.zeros((*lead, value.shape[-1]), dtype), cupy.ones((*lead, 1), wide(dtype))
        return y, cupy.full(total.shape, lowest, total.dtype), total
    y = cupy.empty((*lead, value.shape[-1]), dtype)
    top, total = (cupy.empty((*lead, 1), wide(dtype)) for _ in range(2))
    for part in _parts(query, key, seen):
        scores = _scores(query, key, scale, part)
        weights = scores if scores.dtype == dtype else cupy.empty(scores.shape, dtype)
        _run("attention_weights", part, query, key, seen, scores, weights, top, total)
        _write(y, part, weights, _keys(value, part))
    return y, top, total


def attention_backward(
    query: Array, key: Array, value: Array, scale: float, seen: Any,
    dy: Array, y: Array, top: Array, total: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Return dquery, dkey and dvalue; the weights are computed again.

    rowsum(dy * y) is summed as rowsum(P * dP), which equals it.
    """
    query, key, value, dy = _alike(query, key, value, dy)
    dtype, parts = query.dtype, list(_parts(query, key, seen))
    whole = all(part.queries == slice(0, query.shape[3]) for part in parts)
    whole &= all(part.keys.stop == key.shape[3] for part in parts)
    new = cupy.empty if whole else cupy.zeros  # each part of the keys is written once, or added to
    dquery = cupy.empty(query.shape, dtype)
    dkey, dvalue = new(key.shape, dtype), new(value.shape, dtype)
    if not key.shape[-2]:
        return cupy.zeros(query.shape, dtype), dkey, dvalue
    for part in parts:
        queries, dys = _queries(query, part), _queries(dy, part)
        scores = _scores(query, key, scale, part)
        dweights = batched(dys, _keys(value, part).swapaxes(1, 2), dtype=scores.dtype)
        weights, dscores = scores, dweights
        if scores.dtype != dtype:
            weights, dscores = (cupy.empty(scores.shape, dtype) for _ in range(2))
        _run(
            "attention_slopes", part, query, key, seen, scores, dweights, weights, dscores, top,
            total,
        )  # fmt: skip
        added = 0.0 if whole else 1.0
        batched(weights.swapaxes(1, 2), dys, out=_keys(dvalue, part), beta=added)
        batched(dscores.swapaxes(1, 2), queries, out=_keys(dkey, part), alpha=scale, beta=added)
        _write(dquery, part, dscores, _keys(key, part), scale)
    return dquery, dkey, dvalue


def _alike(*arrays: Array) -> list[Array]:
    """Return the arrays in one dtype, the widest among them."""
    dtype = np.result_type(*(array.dtype for array in arrays))
    return [array.astype(dtype, copy=False) for array in arrays]


def attention_dropout(weights: Array, seen: Any, block: Any, groups: int) -> Array:
    """Return the factors that `attention_weights` of rows.cu draws, for the plain formula."""
    rows, part, queries, keys = block
    draw = elementwise(
        "int64 row, int64 head, int64 repeats, int64 query, int64 key, int64 heads, int64 queries, "
        "int64 keys, uint64 seed, float64 p, float64 scale",
        "T factor", _FACTOR, "attention_dropout", random_code(),
    )  # fmt: skip
    _, some, repeats, many, wide_ = weights.shape
    group = _first_head(seen, groups * repeats) // repeats + part.start
    return draw(
        rows.start, group, repeats, queries.start, keys.start, some, many, wide_,
        np.uint64(seen.seed), seen.dropout_p, _kept_scale(seen),
        cupy.empty(weights.shape, weights.dtype),
    )  # fmt: skip


_FACTOR = """
    const ptrdiff_t k = i % keys, q = i / keys % queries, r = i / keys / queries % repeats;
    const ptrdiff_t g = i / keys / queries / repeats % heads;
    const ptrdiff_t b = i / keys / queries / repeats / heads;
    const float drawn = uniform(seed, key + k, query + q, (head + g) * repeats + r, row + b);
    factor = T(W(drawn >= float(p) ? scale : 0.0));
"""


def _parts(query: Array, key: Array, seen: Any) -> Iterator[Part]:
    """Yield what is computed at once; causal attention needs only the keys up to its queries."""
    batch, groups, repeats, length, _ = query.shape
    past, heads = key.shape[3], groups * repeats
    if not query.size:
        return
    rows = max(1, SCORES // max(1, heads * length * past))
    queries = max(1, SCORES // max(1, heads * past))
    for row in range(0, batch, rows):
        for start in range(0, length, queries):
            stop = min(start + queries, length)
            visible = min(past, seen.first + stop) if seen.is_causal else past
            yield Part(slice(row, min(row + rows, batch)), slice(start, stop), slice(0, visible))


def _queries(x: Array, part: Part) -> Array:
    """Return the part of x (B, G, R, Tq, K) as (N, R * queries, K)."""
    x = x[part.rows, :, :, part.queries]
    batch, groups, repeats, length, size = x.shape
    return joined(x.reshape(batch, groups, repeats * length, size))


def _keys(x: Array, part: Part) -> Array:
    """Return the part of x (B, G, 1, Tk, K) as (N, keys, K)."""
    return joined(x[part.rows, :, 0, part.keys])


def _scores(query: Array, key: Array, scale: float, part: Part) -> Array:
    """Return query @ key^T * scale (N, R * queries, keys)."""
    keys = _keys(key, part).swapaxes(1, 2)
    return batched(_queries(query, part), keys, alpha=scale, dtype=wide(query.dtype))


def _write(out: Array, part: Part, a: Array, b: Array, alpha: float = 1.0) -> None:
    """Write alpha * a @ b, rows as of `_queries`, to the part of out (B, G, R, Tq, K)."""
    target = out[part.rows]
    if part.queries == slice(0, out.shape[3]):
        batched(a, b, out=target.reshape(len(a), a.shape[1], b.shape[2]), alpha=alpha)
    else:
        there = target[:, :, :, part.queries]
        there[...] = batched(a, b, alpha=alpha).reshape(there.shape)


def _run(name: str, part: Part, query: Array, key: Array, seen: Any, *arrays: Array) -> None:
    """Run a kernel of rows.cu with what it needs to know of the part, the mask and dropout."""
    scores, mask = arrays[0], seen.mask
    kind, strides = 0, [0] * 5
    if mask is not None:
        mask = mask if mask.dtype.char in "?efd" else mask.astype(scores.dtype)
        kind = "?efd".index(mask.dtype.char) + 1
        pairs = zip(mask.shape, mask.strides, strict=True)
        strides = [0 if size == 1 else step // mask.itemsize for size, step in pairs]
    on_rows(
        name, (scores.shape[0] * scores.shape[1], scores.shape[2]), query.dtype, *arrays,
        scores if mask is None else mask, kind, *strides,
        *query.shape[1:4], part.rows.start, part.queries.start,
        part.queries.stop - part.queries.start, part.keys.stop,
        int(seen.is_causal), int(seen.first), _first_head(seen, query.shape[1] * query.shape[2]),
        int(seen.seed), float(seen.dropout_p), _kept_scale(seen),
    )  # fmt: skip


def _first_head(seen: Any, heads: int) -> int:
    """Return the number of the first of these heads among those of all ranks."""
    return seen.share[0] * heads


def _kept_scale(seen: Any) -> float:
    return 1 / (1 - seen.dropout_p) if seen.dropout_p < 1 else 0.0


KERNELS = {
    function.__name__: function
    for function in (attention_input, attention_forward, attention_backward, attention_dropout)
}
