"""Expanding (broadcasting) axes without a copy."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.backend import array_module
from tinybert.ops.arguments import shape_argument, unbroadcast


class Expand(Function):
    """Axes of size 1, and new axes in front, repeated to `shape` without a copy; -1 keeps a size.

    dx = the sum of dy over the repeated axes.   Oracle   torch.Tensor.expand
    """

    def forward(self, x: Any, *, shape: tuple[int, ...]) -> Any:
        self.shape = x.shape
        added = len(shape) - x.ndim
        old = (1,) * added + x.shape
        new = tuple(
            o if n == -1 and i >= added else n
            for i, (o, n) in enumerate(zip(old, shape, strict=False))
        )
        fits = all(n >= 0 and o in (1, n) for o, n in zip(old, new, strict=False))
        if added < 0 or not fits:
            raise ValueError(
                f"expand: shape {x.shape} cannot become {tuple(shape)}: only axes of size 1 and "
                "new axes in front can be repeated"
            )
        return array_module(x).broadcast_to(x, new)

    def backward(self, dy: Any) -> Any:
        return unbroadcast(dy, self.shape)


@torch_keywords(size="*")
def expand(input: Any, *shape: Any) -> Tensor:
    """Return input with axes of size 1 repeated to `shape` without a copy; -1 keeps a size."""
    return Expand.apply(as_tensor(input), shape=shape_argument(shape))
