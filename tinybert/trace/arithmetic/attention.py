"""Scaled dot-product attention as one operation: scores, weights, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.trace.arithmetic.products import product
from tinybert.trace.arithmetic.terms import Term, exp, number, total
from tinybert.trace.arithmetic.work import Unknown, Work, backward, forward


class Heads:
    """The attention of the heads of queries that share one head of keys, in float64.

    Attributes:
        query (R, Tq, K), key (Tk, K), value (Tk, V): of R heads.
        scores, weights (R, Tq, Tk): before and after the softmax; a masked score is -inf.
    """

    def __init__(self, work: Work, b: int, g: int) -> None:
        if work.option("dropout_p"):
            raise Unknown("the weights that dropout set to 0 are not in the record")
        groups, heads = work.x("key").shape[1], work.x("query").shape[1]
        self.shared = slice(g * (heads // groups), (g + 1) * (heads // groups))
        self.query = work.x("query")[b, self.shared]
        self.key, self.value = work.x("key")[b, g], work.x("value")[b, g]
        self.scale = float(work.option("scale"))
        self.scores = self._masked(work, b, self.scale * (self.query @ self.key.T))
        top = self.scores.max(axis=-1, keepdims=True)
        weights = np.exp(self.scores - np.where(np.isneginf(top), 0, top))
        sums = weights.sum(axis=-1, keepdims=True)
        self.weights = weights / np.where(sums == 0, 1, sums)

    def _masked(self, work: Work, b: int, scores: Any) -> Any:
        shape = (*work.x("query").shape[:3], scores.shape[-1])
        if work.option("is_causal"):
            last = work.options.get("first", 0) + np.arange(shape[2])
            scores = np.where(np.arange(shape[3]) <= last[:, None], scores, -np.inf)
        if "segments" in work.options:  # a token attends to those of its own segment
            sizes = [size for count, size in work.option("segments") for _ in range(count)]
            segment = np.repeat(np.arange(len(sizes)), sizes)
            scores = np.where(segment == segment[:, None], scores, -np.inf)
        if not work.has("mask"):
            return scores
        mask = work.x("mask")
        part = mask.spread(shape)[b, self.shared]
        return np.where(part != 0, scores, -np.inf) if mask.array.dtype == bool else scores + part

    def dscores(self, work: Work, b: int) -> Any:
        """Return dS = weights * (dy @ value^T - the sum of dy * y)."""
        dy, y = work.dy()[b, self.shared], work.y()[b, self.shared]
        return self.weights * (dy @ self.value.T - (dy * y).sum(axis=-1, keepdims=True))


def _heads(work: Work) -> tuple[Heads, int, int, int]:
    """Return the heads that an element of y or dquery belongs to, its batch row, head and query."""
    b, h, t, _ = work.index
    groups = work.x("key").shape[1]
    repeats = work.x("query").shape[1] // groups
    return Heads(work, b, h // repeats), b, h % repeats, t


@forward("ScaledDotProductAttention", "SegmentAttention")
def attention(work: Work) -> Term:
    """y = the sum of weight_j * value_j; the weight of one key is shown."""
    heads, _, r, t = _heads(work)
    values, scores = heads.value[:, work.index[3]], heads.scores[r, t]
    weights = heads.weights[r, t]
    if not weights.any():
        return number(0)
    j = int(np.argmax(np.abs(weights * values)))
    top = work.let("max score", scores.max())
    products = total(product, heads.query[r, t], heads.key[j])
    dot = work.let(f"query . key[{j}]", products)
    score, own = number(heads.scale) * dot, scores[j] - heads.scale * float(dot.value)
    score = work.let(f"score[{j}]", score + own if work.has("mask") and own else score)
    sums = work.let("sum", total(lambda s, top: exp(s - top), scores, top))
    work.let(f"weight[{j}]", exp(score - top) / sums)
    return total(product, weights, values)


@backward("SegmentAttention", "dquery")
@backward("ScaledDotProductAttention", "dquery")
def attention_dquery(work: Work) -> Term:
    """Return dquery = scale * the sum of dS_j * key_j; dS of one key is shown."""
    heads, b, r, t = _heads(work)
    dscores, keys = heads.dscores(work, b)[r, t], heads.key[:, work.index[3]]
    j = int(np.argmax(np.abs(dscores * keys)))
    _show_dscore(work, heads, b, r, t, j)
    return number(heads.scale) * total(product, dscores, keys)


@backward("SegmentAttention", "dkey")
@backward("ScaledDotProductAttention", "dkey")
def attention_dkey(work: Work) -> Term:
    """Return dkey = scale * the sum of dS_i * query_i over all queries; dS of one is shown."""
    b, g, j, k = work.index
    heads = Heads(work, b, g)
    dscores, queries = heads.dscores(work, b)[..., j], heads.query[..., k]
    largest = np.argmax(np.abs(dscores * queries))
    r, t = (int(i) for i in np.unravel_index(largest, dscores.shape))
    _show_dscore(work, heads, b, r, t, j)
    return number(heads.scale) * total(product, dscores, queries)


@backward("SegmentAttention", "dvalue")
@backward("ScaledDotProductAttention", "dvalue")
def attention_dvalue(work: Work) -> Term:
    """Return dvalue = the sum of weight_i * dy_i over all queries."""
    b, g, j, v = work.index
    heads = Heads(work, b, g)
    return total(product, heads.weights[..., j], work.dy()[b, heads.shared, :, v])


def _show_dscore(work: Work, heads: Heads, b: int, r: int, t: int, j: int) -> None:
    """Write the lines of dS at query t and key j of head r of those that share their keys."""
    h = heads.shared.start + r
    dy, y = work.dy()[b, h, t], work.y()[b, h, t]
    shared = work.let("sum of dy * y", total(product, dy, y))
    dweight = work.let(f"dweight[{t},{j}]", total(product, dy, heads.value[j]))
    work.let(f"dS[{t},{j}]", number(heads.weights[r, t, j]) * (dweight - shared))
