"""Attention masks in the form that attention adds to its scores.

A user's mask has 1 for tokens and 0 for padding. Attention adds (1 - mask) * lowest to the scores,
where `lowest` is the smallest finite number of the dtype. A masked key then has weight exactly 0,
and a query whose keys are all masked attends to all of them equally instead of giving NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import Array
from tinybert.checks import check_mask
from tinybert.models.arguments import tensor_of


def read_mask(name: str, mask: Any, device: str) -> Tensor:
    """Return a mask as a Tensor.

    Raises ValueError if it requires a gradient, or holds anything but ones and zeros. A mask of
    four axes is not checked, since it can hold numbers to add to the scores.
    """
    given = tensor_of(name, mask, device)
    if given.requires_grad:
        raise ValueError(f"{name} is a constant; it cannot require a gradient")
    if given.ndim < 4:
        check_mask(name, given.data)
    return given


def padding_mask(
    name: str, mask: Tensor, batch: int, queries: int, keys: int, dtype: np.dtype
) -> Array:
    """Return a mask (B, Tk) or (B, Tq, Tk) as factors (B, 1, 1 or Tq, Tk), 1 where a query may
    attend to a key.
    """
    shapes: dict[int, tuple[int, ...]] = {2: (batch, keys), 3: (batch, queries, keys)}
    if mask.shape != shapes.get(mask.ndim):
        raise ValueError(f"{name} must have shape {shapes[2]} or {shapes[3]}, got {mask.shape}")
    allowed = mask.data.astype(dtype)
    return allowed[:, None, None, :] if mask.ndim == 2 else allowed[:, None]


def to_scores(allowed: Array) -> Tensor:
    """Return (1 - allowed) * lowest, the number to add to each score."""
    return as_tensor((1 - allowed) * float(np.finfo(allowed.dtype).min))


def causal_mask(
    allowed: Array | None, queries: int, keys: int, dtype: np.dtype, xp: Any, full: bool
) -> tuple[Tensor | None, bool]:
    """Combine a padding mask with the rule that a query attends to no later key.

    Args:
        allowed: (B, 1, 1, Tk), from `padding_mask`, or None. The queries are the last of the keys.
        full: return the rule as part of the mask, a matrix (B or 1, 1, Tq, Tk).

    Returns the mask to add to the scores, or None, and whether attention itself must apply the rule
    (`is_causal`), which saves the matrix. If padding on the left hides every key of some query, the
    matrix is returned in any case: such a query attends to all keys equally.
    """
    if queries == 1:  # the only query is the last key: the rule hides nothing
        return (None if allowed is None else to_scores(allowed)), False
    past = keys - queries
    hidden = allowed is not None and not allowed[..., : past + 1].any(axis=-1).all()
    if not (full or hidden):
        # (A GPU would have to wait for the answer, and adding zeros there costs nothing.)
        all_seen = allowed is None or (xp is np and bool((allowed == 1).all()))
        return (None if all_seen else to_scores(allowed)), True
    rule = xp.arange(keys) <= xp.arange(past, keys)[:, None]  # (Tq, Tk)
    rule = rule.astype(dtype)[None, None]
    return to_scores(rule if allowed is None else allowed * rule), False
