"""Attention: the formula, and a computation in blocks that never stores the attention matrix."""

from __future__ import annotations

import math
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import (
    Array,
    array_module,
    backend_of,
    cpu,
    draw_kept,
    draw_seed,
    kernel,
    seeded_generator,
)
from tinybert.ops.arguments import as_floating, converted, slices, sum_dtype, widened


class ScaledDotProductAttention(Function):
    """y = softmax(query @ key^T * scale + mask) @ value.

    Shapes   query (B, H, Tq, K)   key (B, G, Tk, K)   value (B, G, Tk, Kv)   y (B, H, Tq, Kv)
             mask broadcasts to (B, H, Tq, Tk): floating, added to the scores; or boolean, True
             where a query attends to a key (a query whose keys are all masked gives zeros)
    Source   Vaswani et al. 2017, arXiv:1706.03762, eq. 1; in blocks: Dao et al. 2022,
             arXiv:2205.14135, algorithm 1; in groups: Ainslie et al. 2023, arXiv:2305.13245
    Oracle   torch.nn.functional.scaled_dot_product_attention

    With the scores S = query @ key^T * scale + mask, top the largest score of a query and
    total = sum exp(S - top) over its keys, the attention weights are P = exp(S - top) / total.
    Backward computes them again:

        dvalue = P^T @ dy          dP = dy @ value^T          dS = P * (dP - rowsum(dy * y))
        dquery = scale * dS @ key          dkey = scale * dS^T @ query

    (rowsum(dP * P), a term of the softmax's backward, equals rowsum(dy * y).) Saved: top and
    total, (B, H, Tq, 1) each. Dropout on P is drawn again from a seed.

    Keys and values may have fewer heads, G: then R = H / G consecutive heads of queries use the
    same one. No head is copied for that: queries have the axes (B, G, R, Tq, K), keys and values
    (B, G, 1, Tk, K). With `is_causal` query i attends to keys 0 to first + i.

    In blocks. A softmax over many keys can be summed up block by block. With the largest score seen
    so far, top, and p = exp(S - top), keep total = sum p and gathered = p @ value; when a later
    block has a larger score, the earlier sums are multiplied by exp(old top - new top). In the end
    y = gathered / total. Memory grows with the length, not with its square. float16 is summed in
    float32; except on a GPU, the products are computed in float32 as well. (A GPU takes all keys at
    once: see backend/cuda/attention.py.)
    """

    def forward(
        self, query: Any, key: Any, value: Any, mask: Any = None, *,
        scale: float, dropout_p: float, is_causal: bool, first: int = 0,
    ) -> Any:  # fmt: skip
        groups, self.dtype = key.shape[1], as_floating(query).dtype
        self.shapes = query.shape, key.shape, value.shape
        query, key, value = (attention_input(as_floating(x)) for x in (query, key, value))
        if mask is not None and backend_of(query).name != "cuda":
            mask = _widened_mask(mask)
        self.query = _grouped(query, groups)
        self.key, self.value = key[:, :, None], value[:, :, None]
        if mask is not None:
            mask = mask[:, None] if mask.shape[1] == 1 else _grouped(mask, groups)
        self.scale, self.mask = scale, mask
        self.seen = Visibility(mask, is_causal, first, dropout_p, draw_seed() if dropout_p else 0)
        self.y, self.top, self.total = attention_forward(
            self.query, self.key, self.value, scale, self.seen
        )
        return converted(self.y.reshape(*query.shape[:-1], value.shape[-1]), self.dtype)

    def backward(self, dy: Any) -> Any:
        gradients = attention_backward(
            self.query, self.key, self.value, self.scale, self.seen,
            _grouped(dy.astype(self.query.dtype, copy=False), self.key.shape[1]),
            self.y, self.top, self.total,
        )  # fmt: skip
        pairs = zip(gradients, self.shapes, strict=True)
        rounded = (converted(grad.reshape(shape), self.dtype) for grad, shape in pairs)
        return (*rounded, None)[: len(self.needs_input_grad)]


def _widened_mask(mask: Any) -> Any:
    """Return a float16 mask in float32; the lowest, which hides a key, stays so, and -inf too."""
    if mask.dtype != "float16":
        return mask
    xp = array_module(mask)
    hidden = mask == xp.finfo("float16").min
    return xp.where(hidden, xp.finfo("float32").min, mask.astype("float32"))


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    first: int = 0,
) -> Tensor:
    """Return softmax(query @ key^T * scale + attn_mask) @ value, in memory linear in the length.

    Args:
        query (..., Tq, K), key (..., Tk, K), value (..., Tk, Kv), with the same leading axes.
        attn_mask: broadcasts to (..., Tq, Tk). Floating: added to the scores. Boolean: True where
            a query attends to a key; a query whose keys are all masked gives zeros. It carries no
            gradient.
        dropout_p: probability of dropping a weight; 0 except in training.
        is_causal: query i attends to keys 0 to first + i only; `first` is the number of earlier
            keys.
        scale: of the scores; 1 / sqrt(K) if None, which keeps their variance at 1 when queries and
            keys have variance 1.
        enable_gqa: key and value (B, G, Tk, K) may have fewer heads than query (B, H, Tq, K): with
            R = H / G, query heads g R to g R + R - 1 use head g.
    """
    query, key, value = as_tensor(query), as_tensor(key), as_tensor(value)
    lead, (length, size) = query.shape[:-2], (0, 0, *query.shape)[-2:]
    grouped = enable_gqa and query.ndim == key.ndim == 4 and key.shape[:2] != lead
    if grouped and (key.shape[0] != lead[0] or not key.shape[1] or lead[1] % key.shape[1]):
        raise ValueError(
            f"scaled_dot_product_attention: the {lead[1]} heads of query must be a multiple of the "
            f"{key.shape[1]} of key, of one batch; got {query.shape} and {key.shape}"
        )
    if (
        min(query.ndim, key.ndim) < 2
        or key.shape[:-1] != value.shape[:-1]
        or (key.shape[:-2] != lead and not grouped)
        or key.shape[-1] != size
    ):
        raise ValueError(
            "scaled_dot_product_attention: expected query (..., Tq, K), key (..., Tk, K) and "
            f"value (..., Tk, Kv), got {query.shape}, {key.shape} and {value.shape}"
        )
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"scaled_dot_product_attention: dropout_p must be 0 to 1, got {dropout_p}")
    mask = None if attn_mask is None else as_tensor(attn_mask, query.device)
    if mask is not None:
        full = (*lead, length, key.shape[-2])
        if mask.ndim > len(full) or any(
            m not in (1, f) for m, f in zip(mask.shape[::-1], full[::-1], strict=False)
        ):
            raise ValueError(
                f"scaled_dot_product_attention: attn_mask of shape {mask.shape} does not "
                f"broadcast to {full}"
            )
        if mask.requires_grad:
            raise ValueError("scaled_dot_product_attention: attn_mask cannot require a gradient")
        mask = mask.reshape(*(1,) * (max(len(full), 4) - mask.ndim), *mask.shape)
    four = [_four_axes(x) for x in (query, key, value)]
    if mask is not None and mask.ndim > 4:
        mask = mask.expand(*lead, *mask.shape[-2:]).reshape(four[0].shape[:2] + mask.shape[-2:])
    y = ScaledDotProductAttention.apply(
        *four,
        mask,
        scale=1 / math.sqrt(max(size, 1)) if scale is None else scale,
        dropout_p=dropout_p,
        is_causal=is_causal,
        first=first,
    )
    return y if query.ndim == 4 else y.reshape(*lead, length, value.shape[-1])


def _four_axes(x: Tensor) -> Tensor:
    """Return (..., T, K) as (B, H, T, K): leading axes joined, or axes of size 1 added."""
    if x.ndim == 4:
        return x
    if x.ndim < 4:
        return x.reshape(*(1,) * (4 - x.ndim), *x.shape)
    return x.reshape(-1, *x.shape[-3:])


def _grouped(array: Any, groups: int) -> Any:
    """Return (B, H, T, K) as (B, G, R, T, K): a view."""
    batch, heads, *rest = array.shape
    return array.reshape(batch, groups, heads // max(groups, 1), *rest)


Block = tuple[slice, slice, slice, slice]  # rows of the batch, groups, queries, keys


class Visibility(NamedTuple):
    """The keys that each query attends to, and dropout of the weights, for any block of scores."""

    mask: Any  # (B or 1, G or 1, R or 1, Tq or 1, Tk or 1), or None
    is_causal: bool
    first: int
    dropout_p: float
    seed: int

    @property
    def share(self) -> tuple[int, int]:
        """Which part of how many equal ones these heads are of all ranks' (parallel/streams.py)."""
        return self.seed.share(5) if hasattr(self.seed, "share") else (0, 1)

    def masked(self, scores: Array, block: Block) -> Array:
        """Return scores with the mask added, or -inf where a key is masked; may overwrite them."""
        rows, groups, queries, keys = block
        xp = array_module(scores)
        allowed = None
        if self.is_causal and keys.stop > self.first + queries.start + 1:
            last = xp.arange(self.first + queries.start, self.first + queries.stop)
            allowed = (xp.arange(keys.start, keys.stop)[:, None] <= last).swapaxes(0, 1)
        if self.mask is not None:
            slices = zip(self.mask.shape, (rows, groups, slice(None), queries, keys), strict=True)
            part = self.mask[tuple(slice(None) if size == 1 else at for size, at in slices)]
            if part.dtype.kind == "b":
                allowed = part if allowed is None else part & allowed
            else:
                scores += part
        return scores if allowed is None else xp.where(allowed, scores, -xp.inf)

    def kept(self, weights: Array, block: Block, groups: int) -> Array:
        """Return the dropout factors of a block: 0 with probability p, 1 / (1 - p) otherwise.

        They are drawn for all groups, since then they do not depend on the blocks.
        """
        draw = backend_of(weights).kernels.get("attention_dropout", attention_dropout)
        return draw(weights, self, block, groups)  # in plain mode too: the numbers are the same


# --- the formula ----------------------------------------------------------------------------------


@kernel
def attention_input(x: Array) -> Array:
    """Return x (B, H, T, K) as the other kernels need it: float32 for float16."""
    return widened(x)


def attention_dropout(weights: Array, seen: Visibility, block: Block, groups: int) -> Array:
    """Return the dropout factors of a block; see `Visibility.kept`."""
    rows, part, queries, keys = block
    generator = seeded_generator(weights, seen.seed, rows.start, queries.start, keys.start)
    batch, _, repeats, length, past = weights.shape
    keep = draw_kept(generator, (batch, groups, repeats, past, length), seen.dropout_p)[:, part]
    scale = 1 / (1 - seen.dropout_p) if seen.dropout_p < 1 else 0.0
    return (keep.astype(weights.dtype) * scale).swapaxes(-1, -2)


@kernel
def attention_forward(
    query: Array, key: Array, value: Array, scale: float, seen: Visibility
) -> tuple[Array, Array, Array]:
    """Return y = softmax(query @ key^T * scale + mask) @ value (B, G, R, Tq, Kv), top and total."""
    xp = array_module(query)
    scores = _scores(query, key, scale, seen)  # (B, G, R, Tq, Tk)
    lowest = xp.full((*scores.shape[:-1], 1), float(xp.finfo(query.dtype).min), query.dtype)
    top = xp.maximum(scores.max(axis=-1, keepdims=True), lowest) if key.shape[-2] else lowest
    weights = xp.exp(scores - top)
    total = weights.sum(axis=-1, keepdims=True)
    total = xp.where(total == 0, xp.ones_like(total), total)  # a query without keys gives zeros
    return _dropped(weights / total, query, key, seen) @ value, top, total


@kernel
def attention_backward(
    query: Array, key: Array, value: Array, scale: float, seen: Visibility,
    dy: Array, y: Array, top: Array, total: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Return dquery, dkey and dvalue, in the shapes of query, key and value."""
    weights = array_module(query).exp(_scores(query, key, scale, seen) - top) / total
    dropped = _dropped(weights, query, key, seen)
    dvalue = (dropped.swapaxes(-1, -2) @ dy).sum(axis=2, keepdims=True)
    dweights = _dropped(dy @ value.swapaxes(-1, -2), query, key, seen)
    dscores = weights * (dweights - (dy * y).sum(axis=-1, keepdims=True)) * scale
    dkey = (dscores.swapaxes(-1, -2) @ query).sum(axis=2, keepdims=True)
    return dscores @ key, dkey, dvalue


def _scores(query: Array, key: Array, scale: float, seen: Visibility) -> Array:
    """Return all scores (B, G, R, Tq, Tk)."""
    sizes = (*query.shape[:2], query.shape[3], key.shape[3])
    batch, groups, queries, keys = (slice(0, size) for size in sizes)
    return seen.masked((query * scale) @ key.swapaxes(-1, -2), (batch, groups, queries, keys))


def _dropped(weights: Array, query: Array, key: Array, seen: Visibility) -> Array:
    """Return all weights after dropout, which is drawn block by block."""
    if not seen.dropout_p:
        return weights
    weights, groups = weights.copy(), slice(0, key.shape[1])
    row_blocks, query_blocks, key_blocks = _blocks(query, key, seen)
    for rows, queries in product(row_blocks, query_blocks):
        for keys in _visible_blocks(key_blocks, queries, seen):
            part = weights[rows, :, :, queries, keys]
            part *= seen.kept(part, (rows, groups, queries, keys), key.shape[1])
    return weights


# --- in blocks ------------------------------------------------------------------------------------

# OpenBLAS does products of up to this many multiplications on the calling thread: then blocks can
# run in parallel on threads of `cpu.py`.
ONE_THREAD_PRODUCT = 1 << 18
# Most queries and keys of a block; fewer heads than HEADS share it over rows. OpenBLAS with AVX-512
# copies no operands for up to 100^3 multiplications. For few scores the formula is faster.
BLOCK, HEADS, FEW_SCORES = (128, 128), 24, 1 << 10


def _product(a: Array, b: Array) -> Array:
    """Return a @ b, computed in parts that OpenBLAS does on the calling thread."""
    xp, (rows, inner), width = array_module(a), a.shape[-2:], b.shape[-1]
    step = max(8, ONE_THREAD_PRODUCT // max(1, inner * width))
    if rows <= step or cpu.thread_count() == 1:
        return a @ b
    out = xp.empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), rows, width), a.dtype)
    for part in slices(rows, step):
        xp.matmul(a[..., part, :], b, out=out[..., part, :])
    return out


def _blocks(query: Array, key: Array, seen: Visibility) -> tuple[list[slice], ...]:
    """Return blocks of rows of the batch, of queries and of keys.

    The fewer queries there are, the more keys a block has; the fewer of both, or heads, the more
    rows. With dropout, drawn block by block, blocks do not depend on how many heads a rank has.
    """
    batch, length, (past, size) = query.shape[0], query.shape[3], key.shape[3:]
    keys = _even(past, BLOCK[1])
    most = min(BLOCK[0], max(16, 100**3 // (keys * max(size, 1))))
    queries, scores = _even(length, most), most * keys
    keys = min(scores // queries // keys * keys, max(past, 1))
    least = 1 if seen.dropout_p else HEADS // max(1, query.shape[1] * query.shape[2])
    rows = max(1, least, scores // (queries * keys))
    return slices(batch, rows), slices(length, queries), slices(past, keys)


def _even(length: int, most: int) -> int:
    """Return the size of the fewest equal blocks up to `most`: a multiple of 16 if possible."""
    blocks, unit = -(-length // most), min(16, most)
    return min(-(-length // max(blocks, 1) // unit) * unit, length, most) or 1


def _visible_blocks(keys: list[slice], queries: slice, seen: Visibility) -> list[slice]:
    """Return the blocks of keys that some of the queries attend to; at least one key."""
    if not seen.is_causal:
        return keys
    end = max(1, seen.first + queries.stop)
    return [slice(block.start, min(block.stop, end)) for block in keys if block.start < end]


def _scores_by_key(key: Array, scaled: Array, seen: Visibility, block: Block) -> Array:
    """Return scores (..., keys, queries): sums and maxima over keys then work on whole rows."""
    scores = seen.masked(_product(key, scaled).swapaxes(-1, -2), block)
    return array_module(key).ascontiguousarray(scores.swapaxes(-1, -2))


def _zeros(array: Array, size: int) -> Array:
    """Return zeros (B, G, R, T, size), in memory (B, T, G, R, size): heads join at no cost."""
    batch, groups, repeats, length, _ = array.shape
    zeros = array_module(array).zeros((batch, length, groups, repeats, size), sum_dtype(array))
    return zeros.transpose(0, 2, 3, 1, 4)


@attention_forward.on("cpu")
def attention_in_blocks(
    query: Array, key: Array, value: Array, scale: float, seen: Visibility
) -> tuple[Array, Array, Array]:
    """Sum exp(S - top) and its product with the values, block by block."""
    xp, groups, past = array_module(query), key.shape[1], key.shape[3]
    if query.shape[0] * query.shape[3] * past <= FEW_SCORES:
        return attention_forward.formula(query, key, value, scale, seen)
    y = _zeros(query, value.shape[-1])
    top = xp.full((*y.shape[:-1], 1), float(xp.finfo(query.dtype).min), y.dtype)
    total, quarters = xp.zeros_like(top), xp.eye(4, dtype=y.dtype)[:, xp.arange(past) % 4]
    row_blocks, query_blocks, key_blocks = _blocks(query, key, seen)

    def some_queries(part: tuple[slice, slice]) -> None:
        rows, queries = part
        at = (rows, slice(None), slice(None), queries)
        tops, totals, gathered = top[at].swapaxes(-1, -2), total[at].swapaxes(-1, -2), 0
        scaled = xp.ascontiguousarray((query[at] * scale).swapaxes(-1, -2))
        for keys in _visible_blocks(key_blocks, queries, seen):
            block = (rows, slice(0, groups), queries, keys)
            scores = _scores_by_key(key[rows, :, :, keys], scaled, seen, block)
            higher = xp.maximum(tops, scores.max(axis=-2, keepdims=True))
            scores -= higher
            xp.exp(scores, out=scores)
            fourths = quarters[:, : scores.shape[-2]] @ scores  # four sums round less than one
            sums = fourths.sum(axis=-2, keepdims=True)
            weights = scores.swapaxes(-1, -2)
            if seen.dropout_p:
                weights *= seen.kept(weights, block, groups)
            added = _product(weights, value[rows, :, :, keys])
            if keys.start:
                before = xp.exp(tops - higher)
                sums += before * totals
                gathered *= before.swapaxes(-1, -2)
                added += gathered
            tops[...], totals[...], gathered = higher, sums, added
        totals[totals == 0] = 1  # a query whose keys are all masked has gathered zeros
        y[at] = gathered / total[at]

    backend_of(query).for_each(some_queries, list(product(row_blocks, query_blocks)))
    return y, top, total


@attention_backward.on("cpu")
def attention_backward_in_blocks(
    query: Array, key: Array, value: Array, scale: float, seen: Visibility,
    dy: Array, y: Array, top: Array, total: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Compute the weights of each block again, and add up its part of the gradients."""
    xp, groups, past = array_module(query), key.shape[1], key.shape[3]
    if query.shape[0] * query.shape[3] * past <= FEW_SCORES:
        return attention_backward.formula(query, key, value, scale, seen, dy, y, top, total)
    dquery, dkey, dvalue = (_zeros(array, array.shape[-1]) for array in (query, key, value))
    row_blocks, query_blocks, key_blocks = _blocks(query, key, seen)

    def some_heads(share: tuple[slice, slice]) -> None:
        rows, part = share  # all blocks of some heads, in turn: they add to the same dkey
        for queries in query_blocks:
            at = (rows, part, slice(None), queries)
            scaled, dys = query[at] * scale, dy[at] / total[at]
            products = xp.einsum("...k,...k->...", dys, y[at])[..., None, :]
            columns, dcolumns = (xp.ascontiguousarray(x.swapaxes(-1, -2)) for x in (scaled, dys))
            for keys in _visible_blocks(key_blocks, queries, seen):
                block, those = (rows, part, queries, keys), (rows, part, slice(None), keys)
                weights = _scores_by_key(key[those], columns, seen, block)
                weights -= top[at].swapaxes(-1, -2)
                xp.exp(weights, out=weights)  # P * total: dys is divided by total already
                dweights = _product(value[those], dcolumns)
                dropped = weights
                if seen.dropout_p:
                    keep = seen.kept(weights.swapaxes(-1, -2), block, groups).swapaxes(-1, -2)
                    dropped = weights * keep
                    dweights *= keep
                dweights -= products
                dweights *= weights  # now dS
                dquery[at] += _product(dweights.swapaxes(-1, -2), key[those])
                for head in slices(query.shape[2], 1):  # those that share a head of keys
                    dvalue[those] += _product(dropped[:, :, head], dys[:, :, head])
                    dkey[those] += _product(dweights[:, :, head], scaled[:, :, head])
            dquery[at] *= scale

    parts = 1 if len(row_blocks) > 1 else min(groups, cpu.free_threads(), 4)
    shares = product(row_blocks, slices(groups, -(-groups // max(parts, 1))))
    backend_of(query).for_each(some_heads, list(shares))
    return dquery, dkey, dvalue
