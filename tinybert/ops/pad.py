"""Padding a tensor with a value."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module


class Pad(Function):
    """A frame of `value` around x; widths is ((before, after), ...), one pair an axis.

    One pair, or one number, counts for all axes, as in numpy.pad, which is the oracle.
    dx = dy without the frame.
    """

    def forward(self, x: Any, *, widths: Any, value: float) -> Any:
        pairs = _pad_widths(widths, x)
        shape = tuple(n + before + after for n, (before, after) in zip(x.shape, pairs, strict=True))
        self.inside = tuple(
            slice(before, before + n) for n, (before, _) in zip(x.shape, pairs, strict=True)
        )
        y = array_module(x).full(shape, value, dtype=x.dtype)
        y[self.inside] = x
        return y

    def backward(self, dy: Any) -> Any:
        return dy[(*self.inside, ...)]


def pad(input: Any, widths: Any, value: Any = 0) -> Tensor:
    """Return input with `value` added around it.

    `widths` is ((before, after), ...), one pair an axis, as `numpy.pad` takes it.
    """
    return Pad.apply(as_tensor(input), widths=widths, value=value)


def _pad_widths(widths: Any, x: Any) -> list[tuple[int, int]]:
    """Return one pair (before, after) for each axis, from any of the forms that numpy.pad takes."""
    try:
        pairs = np.broadcast_to(np.asarray(widths), (x.ndim, 2))
    except ValueError:
        pairs = np.empty(0)
    if pairs.shape != (x.ndim, 2) or pairs.dtype.kind not in "iu" or (pairs < 0).any():
        raise ValueError(
            f"pad: widths must be one pair (before, after) of integers from 0 for each of the "
            f"{x.ndim} axes, or one for all, got {widths!r}"
        )
    return [(int(before), int(after)) for before, after in pairs]
