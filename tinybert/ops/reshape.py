"""Changing the shape: reshape, flatten, squeeze, unsqueeze."""

from __future__ import annotations

import math
from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.ops.arguments import normal_axes, normal_axis, shape_argument


class Reshape(Function):
    """The same elements, in C order, in another shape; one size may be -1.

    dx = dy in the shape of x.   Oracle   torch.reshape
    """

    def forward(self, x: Any, *, shape: tuple[int, ...]) -> Any:
        self.shape = x.shape
        free = shape.count(-1)
        known = math.prod(shape) * (-1) ** free  # the product of the given sizes
        fits = x.size == known if not free else free == 1 and known > 0 and x.size % known == 0
        if not fits or min(shape, default=0) < -1:
            raise ValueError(
                f"reshape: shape {x.shape} ({x.size} elements) cannot become {tuple(shape)}"
            )
        return x.reshape(shape)

    def backward(self, dy: Any) -> Any:
        return dy.reshape(self.shape)


@torch_keywords(shape="*", size="*")
def reshape(input: Any, *shape: Any) -> Tensor:
    """Return the same elements in another shape; one axis may be -1."""
    return Reshape.apply(as_tensor(input), shape=shape_argument(shape))


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
