"""Axes of size 1 added and removed, and axes joined into one."""

from __future__ import annotations

import math
from typing import Any

from tinybert.autograd import Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.ops.arguments import normal_axes, normal_axis
from tinybert.ops.reshape import reshape


@torch_keywords(start_dim="start_axis", end_dim="end_axis")
def flatten(input: Any, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """Return input with axes `start_axis` to `end_axis` joined into one."""
    x = as_tensor(input)
    if x.ndim == 0:
        return reshape(x, 1)
    start = normal_axis(start_axis, x.ndim, "start_axis")
    end = normal_axis(end_axis, x.ndim, "end_axis")
    if start > end:
        raise ValueError(f"start_axis {start_axis} must not come after end_axis {end_axis}")
    return reshape(x, *x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


@torch_keywords(dim="axis")
def unsqueeze(input: Any, axis: int) -> Tensor:
    """Return input with a new axis of size 1 at `axis`."""
    x = as_tensor(input)
    at = normal_axis(axis, x.ndim + 1)
    return reshape(x, *x.shape[:at], 1, *x.shape[at:])


@torch_keywords(dim="axis")
def squeeze(input: Any, axis: Any = None) -> Tensor:
    """Return input without its axes of size 1, or without those among `axis`.

    As in torch, an axis of another size is kept, also if it is named.
    """
    x = as_tensor(input)
    dropped = normal_axes(axis, x.ndim)
    return reshape(x, [size for i, size in enumerate(x.shape) if not (i in dropped and size == 1)])
