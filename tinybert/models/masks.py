"""Attention masks and head masks in the form that the layers add and multiply."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.models.inputs import tensor_of


def additive_mask(
    mask: Any,
    batch: int,
    queries: int,
    keys: int,
    like: Tensor,
    *,
    causal: bool = False,
    name: str = "attention_mask",
) -> Tensor | None:
    """A mask of ones (look) and zeros (do not look) as numbers to add to the scores.

    Args:
        mask: (B, Tk) for all queries alike, or (B, Tq, Tk); any boolean array, or one of finite
            numbers. None: all ones.
        like: has the device and the dtype of the result.
        causal: a query may look at keys up to its own place, the queries being the last of the
            keys. A mask (B, Tq, Tk) is taken as it is, as in transformers.

    Returns (1 - mask) * lowest, as (B, 1, 1, Tk) or (B, 1, Tq, Tk), where `lowest` is the smallest
    finite number: so a masked key gets weight 0 exactly, and a row in which everything is masked
    looks at all keys alike and stays finite. None if nothing is masked anyway.
    """
    xp = array_module(like.data)
    allowed: Any = None  # broadcasts to (B, 1, Tq, Tk)
    if mask is not None:
        given = read_mask(name, mask, like.device).data
        shapes: dict[int, tuple[int, ...]] = {2: (batch, keys), 3: (batch, queries, keys)}
        if given.shape != shapes.get(given.ndim):
            raise ValueError(
                f"{name} must have shape {shapes[2]} or {shapes[3]}, got {given.shape}"
            )
        allowed = given.astype(like.dtype)
        allowed = allowed[:, None, None, :] if given.ndim == 2 else allowed[:, None]
        causal = causal and given.ndim == 2
    if causal and queries > 1:
        place = xp.arange(keys - queries, keys)[:, None]  # of each query among the keys
        past = (xp.arange(keys) <= place).astype(like.dtype)
        allowed = past[None, None] if allowed is None else allowed * past
    if allowed is None:
        return None
    return as_tensor((1 - allowed) * float(np.finfo(like.dtype).min))


def read_mask(name: str, mask: Any, device: str) -> Tensor:
    """A mask as a Tensor. Raises ValueError if it requires a gradient, and for NaN and infinity,
    which mean neither look nor do not look; but four axes are numbers to be added, maybe -inf.
    """
    given = tensor_of(name, mask, device)
    if given.requires_grad:
        raise ValueError(f"{name} is a constant; it cannot require a gradient")
    if given.ndim < 4 and given.dtype.kind == "f":
        wrong = given.data[~array_module(given.data).isfinite(given.data)]
        if wrong.size:
            raise ValueError(f"{name} must be of ones and zeros, got {float(wrong[0])}")
    return given


def per_layer_head_mask(head_mask: Any, layers: int, heads: int, like: Tensor) -> list[Any]:
    """A head mask (H,) or (L, H) as one factor (1, H, 1, 1) a layer, or None for each."""
    if head_mask is None:
        return [None] * layers
    array = tensor_of("head_mask", head_mask, like.device).data.astype(like.dtype)
    if array.shape not in ((heads,), (layers, heads)):
        raise ValueError(
            f"head_mask must have shape ({heads},) or ({layers}, {heads}), got {array.shape}"
        )
    array = array[None] if array.ndim == 1 else array
    return [as_tensor(array[i % array.shape[0]][None, :, None, None]) for i in range(layers)]
