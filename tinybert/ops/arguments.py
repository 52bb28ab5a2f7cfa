"""How operations read their arguments: axes, shapes, operands, and the dtypes that mixed inputs
take.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, get_default_dtype, to_array
from tinybert.backend import Array, is_array


def operand(value: Any, like: Tensor) -> Any:
    """`value` as an input of `apply` beside `like`: Tensors, arrays and numbers as they are, lists
    as arrays.
    """
    if isinstance(value, (Tensor, bool, int, float, complex, np.generic)) or is_array(value):
        return value
    return to_array(value, None, like.device)


def promote(a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands (arrays or Python numbers) in dtypes whose result NumPy does not widen to
    float64 unasked.

    As in torch, an integer array beside a floating array takes the float's dtype, and an integer
    array beside a Python float takes the default dtype (NumPy alone gives float64 for both).
    """
    return _beside(a, b), _beside(b, a)


def _beside(a: Any, b: Any) -> Any:
    if not is_array(a) or a.dtype.kind not in "biu":
        return a
    if is_array(b) and b.dtype.kind in "fc":
        return a.astype(b.dtype)
    return a.astype(get_default_dtype()) if isinstance(b, float) else a


def as_floating(x: Any) -> Any:
    """An integer or boolean array in the default dtype; floating and complex arrays as they are."""
    return x.astype(get_default_dtype()) if is_array(x) and x.dtype.kind in "biu" else x


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum `grad` over the axes that broadcasting added to, or stretched in, an array of `shape`."""
    if grad.shape == shape:
        return grad
    added = grad.ndim - len(shape)
    grad = grad.sum(axis=tuple(range(added))) if added else grad
    stretched = tuple(i for i, size in enumerate(shape) if size == 1 and grad.shape[i] != 1)
    return grad.sum(axis=stretched, keepdims=True) if stretched else grad


def normal_axis(axis: Any, ndim: int, name: str = "axis") -> int:
    """`axis` as a number from 0 to ndim - 1; ValueError naming the limits."""
    try:
        value = operator.index(axis)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {axis!r}") from None
    if not -ndim <= value < ndim:
        raise ValueError(
            f"{name} must be from {-ndim} to {ndim - 1} for a tensor with {ndim} axes, got {value}"
        )
    return value % ndim


def normal_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """`axis` (None for all, an int, or a tuple) as distinct numbers from 0 to ndim - 1."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(
        normal_axis(one, ndim) for one in (axis if isinstance(axis, (tuple, list)) else (axis,))
    )
    if len(set(axes)) != len(axes):
        raise ValueError(f"axis names an axis twice: {axis}")
    return axes


def shape_argument(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """`(2, 3)` from `f(2, 3)`, `f((2, 3))` or `f([2, 3])`."""
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    try:
        return tuple(map(operator.index, shape))
    except TypeError:
        raise TypeError(f"expected integers, got {shape}") from None


def flattened_shape(x: Tensor, start_axis: int, end_axis: int) -> tuple[int, ...]:
    """The shape with axes `start_axis` to `end_axis` joined."""
    if x.ndim == 0:
        return (1,)
    start, end = (
        normal_axis(start_axis, x.ndim, "start_axis"),
        normal_axis(end_axis, x.ndim, "end_axis"),
    )
    if start > end:
        raise ValueError(f"start_axis {start_axis} must not come after end_axis {end_axis}")
    return (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


def transposed_axes(x: Tensor, axes: tuple[Any, ...]) -> tuple[int, ...]:
    """The permutation that `transpose(*axes)` means: none reverses, two swap, a list permutes."""
    if not axes:
        return tuple(reversed(range(x.ndim)))
    given = shape_argument(axes)
    if len(given) == 2:
        a, b = normal_axis(given[0], x.ndim), normal_axis(given[1], x.ndim)
        order = list(range(x.ndim))
        order[a], order[b] = b, a
        return tuple(order)
    return given


def unsqueezed_shape(x: Tensor, axis: int) -> tuple[int, ...]:
    """The shape with a 1 inserted so that it stands at `axis`."""
    at = normal_axis(axis, x.ndim + 1)
    return (*x.shape[:at], 1, *x.shape[at:])


def squeezed_shape(x: Tensor, axis: Any) -> tuple[int, ...]:
    """The shape without the axes of size 1 among `axis` (None: all)."""
    dropped = normal_axes(axis, x.ndim)
    return tuple(size for i, size in enumerate(x.shape) if not (i in dropped and size == 1))


def chunk_size(x: Tensor, chunks: int, axis: int) -> int:
    """The length of a piece when `axis` is cut into at most `chunks` equal pieces."""
    if chunks < 1:
        raise ValueError(f"chunks must be at least 1, got {chunks}")
    return max(1, -(-x.shape[normal_axis(axis, x.ndim)] // chunks))
