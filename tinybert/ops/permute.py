"""Permuting axes: permute, transpose, swapaxes."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.ops.arguments import normal_axis, shape_argument


class Permute(Function):
    """The axes in another order: axis i of y is axis axes[i] of x.

    dx = dy with the inverse permutation.   Oracle   torch.permute
    """

    def forward(self, x: Any, *, axes: tuple[int, ...]) -> Any:
        every = list(range(x.ndim))
        if sorted(axes) != every:  # some are counted from the end, or there is a mistake
            axes = tuple([normal_axis(axis, x.ndim, "axes") for axis in axes])
        self.axes = axes
        if sorted(axes) != every:
            raise ValueError(
                f"permute: axes must name each of the {x.ndim} axes of shape {x.shape} once, "
                f"got {tuple(axes)}"
            )
        return x.transpose(self.axes)

    def backward(self, dy: Any) -> Any:
        return dy.transpose(sorted(range(dy.ndim), key=self.axes.__getitem__))


@torch_keywords(dims="*")
def permute(input: Any, *axes: Any) -> Tensor:
    """Return input with its axes in another order."""
    return Permute.apply(as_tensor(input), axes=shape_argument(axes))


@torch_keywords(dim0="*", dim1="*")
def transpose(input: Any, *axes: Any) -> Tensor:
    """Return input with two axes swapped, `transpose(x, a, b)`, or all reversed, `transpose(x)`.

    `transpose(x, *order)` permutes, as NumPy does.
    """
    x = as_tensor(input)
    order = shape_argument(axes) if axes else tuple(reversed(range(x.ndim)))
    if len(axes) and len(order) == 2:
        a, b = (normal_axis(axis, x.ndim) for axis in order)
        swapped = list(range(x.ndim))
        swapped[a], swapped[b] = b, a
        order = tuple(swapped)
    return Permute.apply(x, axes=order)


@torch_keywords(axis0="a", axis1="b")
def swapaxes(input: Any, a: int, b: int) -> Tensor:
    """Return input with two axes swapped."""
    return transpose(input, a, b)
