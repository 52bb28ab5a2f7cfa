"""Changing the shape: reshape, flatten, squeeze, unsqueeze."""

from __future__ import annotations

import math
from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.ops.arguments import shape_argument


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
