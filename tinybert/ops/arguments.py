"""How operations read their arguments: axes, shapes, operands, and the dtypes of mixed inputs."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, as_tensor, get_default_dtype, to_array
from tinybert.backend import Array, is_array
from tinybert.checks import is_integer


def operands(a: Any, b: Any) -> tuple[Any, Any]:
    """Return two values as inputs of `apply`; at least one becomes a Tensor or an array.

    A number stays a number, since it takes the dtype of the other operand.
    """
    if isinstance(a, Tensor):
        return a, b if isinstance(b, Tensor) else operand(b, a)
    if isinstance(b, Tensor):
        return operand(a, b), b
    a = as_tensor(a)
    return a, operand(b, a)


def operand(value: Any, like: Tensor) -> Any:
    """Return `value` as an input of `apply`; a list becomes an array on the device of `like`."""
    if isinstance(value, (Tensor, bool, int, float, complex, np.generic)) or is_array(value):
        return value
    return to_array(value, None, like.device)


def optional(value: Any, like: Tensor) -> Tensor | None:
    """Return `value` as a Tensor on the device of `like`; None stays None."""
    return None if value is None else as_tensor(value, like.device)


def promote(a: Any, b: Any) -> tuple[Any, Any]:
    """Return two operands (arrays or Python numbers) in dtypes whose result is torch's.

    An integer array with a floating array takes the float's dtype, and an integer array with a
    Python float takes the default dtype (NumPy alone gives float64 for both).
    """
    return _in_common_dtype(a, b), _in_common_dtype(b, a)


def _in_common_dtype(a: Any, b: Any) -> Any:
    if not is_array(a) or a.dtype.kind not in "biu":
        return a
    if is_array(b) and b.dtype.kind in "fc":
        return a.astype(b.dtype)
    return a.astype(get_default_dtype()) if isinstance(b, float) else a


def as_floating(x: Any) -> Any:
    """Return an integer or boolean array in the default dtype, any other array unchanged."""
    return x.astype(get_default_dtype()) if is_array(x) and x.dtype.kind in "biu" else x


def widened(x: Any) -> Any:
    """Return a float16 array in float32, in which it is summed; any other array unchanged."""
    return x.astype("float32") if x.dtype.char == "e" else x


def converted(x: Any, dtype: Any, copy: bool = False) -> Any:
    """Return x in another dtype; a number too large for it becomes infinite, without a warning."""
    if x.dtype == dtype and not copy:
        return x
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return x.astype(dtype)


def sum_dtype(x: Any) -> Any:
    """Return the dtype in which x is summed."""
    return np.dtype("float32") if x.dtype == "float16" else result_dtype(x)


def result_dtype(x: Any) -> Any:
    """Return the dtype of a sum of x: its own, int64 for booleans and the smaller integers."""
    return x.dtype if x.dtype.kind in "fc" or x.dtype == "uint64" else np.dtype("int64")


def conjugate(x: Any) -> Any:
    """Return the complex conjugate of a complex array, anything else unchanged."""
    return x.conj() if is_array(x) and x.dtype.kind == "c" else x


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum `grad` over the axes that broadcasting added to an array of `shape` or repeated in it."""
    if grad.shape == shape:
        return grad
    many = shape == grad.shape[-1:] and grad.size >= 64 * shape[0] > 0
    if many and type(grad) is np.ndarray and grad.dtype.char in "fd":
        rows, n = grad.reshape(-1, *shape), grad.size // (16 * shape[0])
        parts = np.ones(n, grad.dtype) @ rows[: 16 * n].reshape(16, n, *shape)
        return parts.sum(axis=0) + rows[16 * n :].sum(axis=0)  # 16 sums round less than one
    added = grad.ndim - len(shape)
    stretched = [i + added for i, size in enumerate(shape) if size != grad.shape[i + added]]
    total = grad.sum(axis=(*range(added), *stretched), dtype=sum_dtype(grad))
    return converted(total, grad.dtype).reshape(shape)


def normal_axis(axis: Any, ndim: int, name: str = "axis") -> int:
    """Return `axis` as a number from 0 to ndim - 1; ValueError naming the limits."""
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
    """Return `axis` (None for all, an int, or a tuple) as distinct numbers from 0 to ndim - 1."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = tuple(normal_axis(one, ndim) for one in given)
    if len(set(axes)) != len(axes):
        raise ValueError(f"axis names an axis twice: {axis}")
    return axes


def shape_argument(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Return (2, 3) from the arguments of `f(2, 3)`, `f((2, 3))` or `f([2, 3])`."""
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    try:
        return tuple(map(operator.index, shape))
    except TypeError:
        raise TypeError(f"expected integers, got {shape}") from None


def several(tensors: Sequence[Any]) -> list[Tensor]:
    """Return at least one Tensor; arrays are wrapped on the device of the first Tensor."""
    if isinstance(tensors, Tensor) or not tensors:
        raise TypeError("tensors must be a list or tuple with at least one tensor")
    like = next((x for x in tensors if isinstance(x, Tensor)), None)
    return [as_tensor(x, None if like is None else like.device) for x in tensors]


def slices(length: int, step: int) -> list[slice]:
    """Return slices of `step` elements that cover `length`."""
    return [slice(start, min(start + step, length)) for start in range(0, length, max(step, 1))]


def check_shape(function: str, name: str, given: Tensor | None, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless `given` is None or has the shape `shape`."""
    if given is not None and given.shape != shape:
        raise ValueError(f"{function}: {name} must have shape {shape}, got {given.shape}")


def trailing_shape(
    name: str, x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None
) -> tuple[int, ...]:
    """Return `normalized_shape` as a tuple; ValueError unless x and weight end in it."""
    shape: Any = (normalized_shape,) if is_integer(normalized_shape) else tuple(normalized_shape)
    if not all(map(is_integer, shape)):
        raise TypeError(f"{name}: normalized_shape must be integers, such as {x.shape[-1:]}")
    if x.shape[x.ndim - len(shape) :] != shape or (weight is not None and weight.shape != shape):
        found = "" if weight is None else f" and weight of shape {weight.shape}"
        raise ValueError(
            f"{name}: input of shape {x.shape}{found} must end in normalized_shape {shape}"
        )
    return shape
