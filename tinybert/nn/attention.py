"""Multi-head attention on projected queries, keys and values."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.autograd.modes import observer


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Return x (B, G, T, K) as (B, H, T, K), every head repeated H / G times."""
    batch, groups, length, size = x.shape
    if groups == heads:
        return x
    shape = (batch, groups, heads // groups, length, size)
    return x.unsqueeze(2).expand(*shape).reshape(batch, heads, length, size)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any = None,
    *,
    bias: Tensor | None = None,
    dropout_p: float = 0.0,
    head_mask: Any = None,
    need_weights: bool = False,
    is_causal: bool = False,
    first: int = 0,
    packing: Any = None,
    shared: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return softmax((query @ key^T + bias) / sqrt(K) + mask) @ value, and the weights or None.

    Args:
        query: (B, H, Tq, K).
        key, value: (B, G, Tk, K), where G divides H: H / G consecutive query heads share a head.
        mask: added to the scaled scores.
        bias: (B, H, Tq, Tk), such as relative positions; added to the scores before scaling.
        dropout_p: the dropout probability of the weights; if `shared`, all rows and heads drop the
            same keys of a query, as in Flax. That is not available with packing.
        head_mask: factors of the weights, broadcast to (B, H, Tq, Tk).
        need_weights: return the weights (B, H, Tq, Tk) as well, after dropout and head_mask.
        packing: a `nn.packing.Packing` if the tokens are packed in one row; or None.
        is_causal: query i attends to keys 0 to first + i only.

    Returns the context (B, H, Tq, K) and the weights or None. Without weights, bias and head_mask
    the matrix of scores is never held in full, unless an observer wants to see every step.
    """
    if packing is not None:
        return packing.attend(query, key, value, dropout_p, is_causal), None
    if not (need_weights or shared) and head_mask is None and bias is None and observer() is None:
        context = F.scaled_dot_product_attention(
            query, key, value, mask, dropout_p, is_causal, enable_gqa=True, first=first
        )
        return context, None
    key, value = (repeat_heads(x, query.shape[1]) for x in (key, value))
    scores = query @ key.transpose(-1, -2)  # (B, H, Tq, Tk)
    scores = (scores if bias is None else scores + bias) * (query.shape[-1] ** -0.5)
    if mask is not None:
        scores = scores + mask
    if is_causal:
        later = np.triu(np.ones(scores.shape[-2:], bool), first + 1)
        scores = scores.masked_fill(later, float(np.finfo(scores.dtype).min))
    weights = F.dropout(scores.softmax(-1), dropout_p, shared=(0, 1) if shared else ())
    if head_mask is not None:
        weights = weights * head_mask
    return weights @ value, weights
