"""Operations that move elements without computing: new shapes, joining, cutting, shifting.

Each is linear and puts every element somewhere, so its backward moves the gradient back the same
way: a cut is undone by joining, a shift by the opposite shift, a repetition by a sum.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinybert.autograd import Function
from tinybert.backend import Array, array_module
from tinybert.ops.arguments import normal_axes, normal_axis, unbroadcast


class Reshape(Function):
    """The same elements, in C order, in another shape; one size may be -1.

    dx = dy in the shape of x.   Oracle   torch.reshape
    """

    def forward(self, x: Any, *, shape: tuple[int, ...]) -> Any:
        self.shape = x.shape
        free = shape.count(-1)
        known = math.prod(shape) * (-1) ** free  # what the given sizes come to
        fits = x.size == known if not free else free == 1 and known > 0 and x.size % known == 0
        if not fits or min(shape, default=0) < -1:
            raise ValueError(
                f"reshape: shape {x.shape} ({x.size} elements) cannot become {tuple(shape)}"
            )
        return x.reshape(shape)

    def backward(self, dy: Any) -> Any:
        return dy.reshape(self.shape)


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


class Concat(Function):
    """Arrays joined along an axis that they have; all other axes agree.

    Each dx is the piece of dy that its x became.   Oracle   torch.cat
    """

    def forward(self, *xs: Any, axis: int) -> Any:
        if not xs:
            raise ValueError("concat needs at least one tensor")
        if xs[0].ndim == 0:
            raise ValueError("concat: tensors without axes cannot be joined; use stack")
        self.axis = normal_axis(axis, xs[0].ndim)
        for position, x in enumerate(xs):
            _check_alike("concat", position, x.shape, xs[0].shape, but=self.axis)
        self.sizes = tuple(x.shape[self.axis] for x in xs)
        self.dtypes = tuple(x.dtype for x in xs)
        return array_module(xs[0]).concatenate(_in_one_dtype(xs), axis=self.axis)

    def backward(self, *dy: Any) -> Any:
        pieces = _cut(dy[0], self.sizes, self.axis)
        return tuple(
            _converted(piece, dtype) if need else None
            for piece, dtype, need in zip(pieces, self.dtypes, self.needs_input_grad, strict=True)
        )


class Stack(Function):
    """Arrays of one shape joined along a new axis.

    The dx of input i is slice i of dy.   Oracle   torch.stack
    """

    def forward(self, *xs: Any, axis: int) -> Any:
        if not xs:
            raise ValueError("stack needs at least one tensor")
        self.axis = normal_axis(axis, xs[0].ndim + 1)
        for position, x in enumerate(xs):
            _check_alike("stack", position, x.shape, xs[0].shape)
        self.dtypes = tuple(x.dtype for x in xs)
        return array_module(xs[0]).stack(_in_one_dtype(xs), axis=self.axis)

    def backward(self, *dy: Any) -> Any:
        front = (slice(None),) * self.axis
        return tuple(
            _converted(dy[0][(*front, i, ...)], dtype) if need else None
            for i, (dtype, need) in enumerate(zip(self.dtypes, self.needs_input_grad, strict=True))
        )


class Split(Function):
    """Pieces along one axis, of the listed sizes, or of one size (the last may be smaller).

    dx = the gradients of the pieces, joined.   Oracle   torch.split
    """

    def forward(self, x: Any, *, sizes: int | Sequence[int], axis: int) -> Any:
        self.axis = normal_axis(axis, x.ndim)
        length = x.shape[self.axis]
        if isinstance(sizes, Sequence):
            pieces = tuple(operator.index(size) for size in sizes)
        else:
            step = operator.index(sizes)
            if step < 1:
                raise ValueError(f"split: sizes must be at least 1, got {step}")
            pieces = tuple(min(step, length - at) for at in range(0, length, step)) or (0,)
        if sum(pieces) != length or any(size < 0 for size in pieces):
            raise ValueError(
                f"split: sizes {list(pieces)} must add up to {length}, the size of axis {axis} of "
                f"shape {x.shape}"
            )
        return _cut(x, pieces, self.axis)

    def backward(self, *dy: Any) -> Any:
        return array_module(dy[0]).concatenate(dy, axis=self.axis)


class Pad(Function):
    """A frame of `value` around x; widths is ((before, after), ...), one pair an axis.

    One pair, or one number, stands for all axes, as in numpy.pad, which is the oracle.
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


class Roll(Function):
    """Elements moved by `shifts` along `axis`; what falls off comes in at the other end.

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


class _Triangle:
    """Mixin that keeps one side of a diagonal of the last two axes and sets the other to 0."""

    keep: Array  # (rows, columns), True where elements stay

    def diagonals(self, x: Any) -> Any:
        """For every place of the last two axes the diagonal it is on: column - row."""
        if x.ndim < 2:
            raise ValueError(
                f"{type(self).__name__.lower()} needs at least two axes, got shape {x.shape}"
            )
        xp = array_module(x)
        return xp.arange(x.shape[-1])[None, :] - xp.arange(x.shape[-2])[:, None]

    def kept(self, x: Any) -> Any:
        """x where `keep`, 0 elsewhere."""
        xp = array_module(x)
        return xp.where(self.keep, x, xp.zeros_like(x))


class Tril(_Triangle, Function):
    """The lower triangle of the last two axes: 0 above `diagonal`. dx = tril(dy)."""

    def forward(self, x: Any, *, diagonal: int) -> Any:
        self.keep = self.diagonals(x) <= diagonal
        return self.kept(x)

    def backward(self, dy: Any) -> Any:
        return self.kept(dy)


class Triu(_Triangle, Function):
    """The upper triangle of the last two axes: 0 below `diagonal`. dx = triu(dy)."""

    def forward(self, x: Any, *, diagonal: int) -> Any:
        self.keep = self.diagonals(x) >= diagonal
        return self.kept(x)

    def backward(self, dy: Any) -> Any:
        return self.kept(dy)


def _check_alike(
    name: str, position: int, shape: tuple[int, ...], first: tuple[int, ...], but: int = -1
) -> None:
    """Raise unless `shape` is `first`, on all axes except `but`, naming the axis that differs."""
    if len(shape) != len(first):
        raise ValueError(
            f"{name}: tensor {position} has shape {shape}, the first has {first}: all need the "
            "same number of axes"
        )
    for axis, (size, expected) in enumerate(zip(shape, first, strict=True)):
        if size != expected and axis != but:
            raise ValueError(
                f"{name}: tensor {position} has size {size} on axis {axis} (shape {shape}), the "
                f"first has {expected} (shape {first})"
            )


def _in_one_dtype(xs: tuple[Any, ...]) -> list[Any]:
    """Arrays in their common dtype; floats decide it, so that integers do not widen float32."""
    dtypes = {x.dtype for x in xs}
    floating = [dtype for dtype in dtypes if dtype.kind in "fc"]
    common = np.result_type(*(floating or dtypes))
    return [x.astype(common, copy=False) for x in xs]


def _converted(grad: Any, dtype: Any) -> Any:
    """`grad` in the dtype of its input: the real part for a real one."""
    real = grad.real if grad.dtype.kind == "c" and dtype.kind != "c" else grad
    return real.astype(dtype, copy=False)


def _cut(x: Any, sizes: Sequence[int], axis: int) -> tuple[Any, ...]:
    """Views of consecutive pieces of `sizes` elements along `axis`."""
    front, ends = (slice(None),) * axis, [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return tuple(x[(*front, slice(end - n, end))] for end, n in zip(ends, sizes, strict=True))


def _pad_widths(widths: Any, x: Any) -> list[tuple[int, int]]:
    """One pair (before, after) for each axis, from any of the forms that numpy.pad takes."""
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


def _rolled(x: Any, shifts: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    if not x.size:
        return x.copy()
    xp = array_module(x)
    return xp.roll(x, shifts, axes) if axes else xp.roll(x.reshape(-1), shifts[0]).reshape(x.shape)
