"""Rolling and flipping elements along an axis."""

from __future__ import annotations

import operator
from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.backend import array_module
from tinybert.ops.arguments import normal_axes, normal_axis


class Roll(Function):
    """Elements moved by `shifts` along `axis`; elements that leave one end enter at the other.

    With axis None the flattened array is rolled. dx = dy rolled back.   Oracle   torch.roll
    """

    def forward(self, x: Any, *, shifts: Any, axis: Any) -> Any:
        several = isinstance(shifts, (tuple, list))
        moves = tuple(operator.index(shift) for shift in (shifts if several else (shifts,)))
        axes: tuple[int, ...] = ()
        if axis is not None:
            given = axis if isinstance(axis, (tuple, list)) else (axis,)
            axes = tuple(normal_axis(one, x.ndim) for one in given)
        if len(moves) != max(1, len(axes)):
            raise ValueError(
                f"roll: shifts {shifts} and axis {axis} must be equally many; without an axis one "
                "shift is needed"
            )
        self.shifts, self.axes = moves, axes
        return _rolled(x, moves, axes)

    def backward(self, dy: Any) -> Any:
        return _rolled(dy, tuple(-shift for shift in self.shifts), self.axes)


@torch_keywords(dims="axis")
def roll(input: Any, shifts: Any, axis: Any = None) -> Tensor:
    """Return elements moved along `axis`; those moved beyond the end come in at the beginning."""
    return Roll.apply(as_tensor(input), shifts=shifts, axis=axis)


class Flip(Function):
    """The order along `axis` (an int, a tuple, or None for all) reversed, without a copy.

    dx = dy flipped again.   Oracle   torch.flip
    """

    def forward(self, x: Any, *, axis: Any) -> Any:
        axes = normal_axes(axis, x.ndim)
        backwards, as_it_is = slice(None, None, -1), slice(None)
        self.index = (*(backwards if i in axes else as_it_is for i in range(x.ndim)), ...)
        return x[self.index]

    def backward(self, dy: Any) -> Any:
        return dy[self.index]


@torch_keywords(dims="axis")
def flip(input: Any, axis: Any = None) -> Tensor:
    """Return input with the order along `axis` (all axes if None) reversed."""
    return Flip.apply(as_tensor(input), axis=axis)


def _rolled(x: Any, shifts: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    if not x.size:
        return x.copy()
    xp = array_module(x)
    return xp.roll(x, shifts, axes) if axes else xp.roll(x.reshape(-1), shifts[0]).reshape(x.shape)
