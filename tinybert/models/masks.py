"""Attention masks and head masks in the form that the layers add and multiply."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import Array, array_module


def additive_mask(
    mask: Any, batch: int, queries: int, keys: int, dtype: np.dtype, device: str
) -> Array:
    """A mask of ones (look) and zeros (do not look) as numbers to add to the scores.

    Args:
        mask: (B, Tk) for all queries alike, or (B, Tq, Tk); any numeric or boolean array.

    Returns (1 - mask) * lowest, as (B, 1, 1, Tk) or (B, 1, Tq, Tk), where `lowest` is the smallest
    finite number: so a masked key gets weight 0 exactly, and a row in which everything is masked
    looks at all keys alike and stays finite.
    """
    if isinstance(mask, Tensor) and mask.requires_grad:
        raise ValueError("attention_mask is a constant; it cannot require a gradient")
    array = as_tensor(mask, device).data
    allowed: dict[int, tuple[int, ...]] = {2: (batch, keys), 3: (batch, queries, keys)}
    if array.shape != allowed.get(array.ndim):
        raise ValueError(
            f"attention_mask must have shape {allowed[2]} or {allowed[3]}, got {array.shape}"
        )
    xp = array_module(array)
    lowest = float(xp.finfo(dtype).min)
    array = (1 - array.astype(dtype)) * lowest
    return array[:, None, None, :] if array.ndim == 2 else array[:, None]


def per_layer_head_mask(head_mask: Any, layers: int, heads: int, like: Tensor) -> list[Any]:
    """A head mask (H,) or (L, H) as one factor (1, H, 1, 1) a layer, or None for each."""
    if head_mask is None:
        return [None] * layers
    array = as_tensor(head_mask, like.device).data.astype(like.dtype)
    if array.shape not in ((heads,), (layers, heads)):
        raise ValueError(
            f"head_mask must have shape ({heads},) or ({layers}, {heads}), got {array.shape}"
        )
    array = array[None] if array.ndim == 1 else array
    return [as_tensor(array[i % array.shape[0]][None, :, None, None]) for i in range(layers)]
