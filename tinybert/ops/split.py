"""Splitting a tensor into parts along one axis."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.backend import array_module
from tinybert.ops.arguments import normal_axis


class Split(Function):
    """Parts along one axis, of the listed sizes, or of one size (the last may be smaller).

    dx = the gradients of the parts, joined.   Oracle   torch.split
    """

    def forward(self, x: Any, *, sizes: int | Sequence[int], axis: int) -> Any:
        self.axis = normal_axis(axis, x.ndim)
        length = x.shape[self.axis]
        if isinstance(sizes, Sequence):
            parts = tuple(operator.index(size) for size in sizes)
        else:
            step = operator.index(sizes)
            if step < 1:
                raise ValueError(f"split: sizes must be at least 1, got {step}")
            parts = tuple(min(step, length - at) for at in range(0, length, step)) or (0,)
        if sum(parts) != length or any(size < 0 for size in parts):
            raise ValueError(
                f"split: sizes {list(parts)} must add up to {length}, the size of axis {axis} of "
                f"shape {x.shape}"
            )
        return cut(x, parts, self.axis)

    def backward(self, *dy: Any) -> Any:
        return array_module(dy[0]).concatenate(dy, axis=self.axis)


@torch_keywords(split_size="sizes", split_size_or_sections="sizes", dim="axis")
def split(input: Any, sizes: int | list[int], axis: int = 0) -> tuple[Tensor, ...]:
    """Return parts of `sizes` elements along `axis` (the last may be smaller).

    A list gives the size of each part.
    """
    return Split.apply(as_tensor(input), sizes=sizes, axis=axis)


@torch_keywords(dim="axis")
def chunk(input: Any, chunks: int, axis: int = 0) -> tuple[Tensor, ...]:
    """Return at most `chunks` parts of equal size along `axis` (the last may be smaller)."""
    x = as_tensor(input)
    if chunks < 1:
        raise ValueError(f"chunks must be at least 1, got {chunks}")
    length = x.shape[normal_axis(axis, x.ndim)]
    return split(x, max(1, -(-length // chunks)), axis)


def cut(x: Any, sizes: Sequence[int], axis: int) -> tuple[Any, ...]:
    """Return views of consecutive parts of `sizes` elements along `axis`."""
    front, ends = (slice(None),) * axis, [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return tuple(x[(*front, slice(end - n, end))] for end, n in zip(ends, sizes, strict=True))
