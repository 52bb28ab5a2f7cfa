"""Sorting, the k largest elements, and extreme values with their indices, as in torch.

The gradient of a value goes to the element that was chosen.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.checks import is_integer
from tinybert.ops.arguments import normal_axis


class Chosen(NamedTuple):
    """Values, and the indices (int64) of the elements that they are."""

    values: Tensor
    indices: Tensor


def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Return the indices (int64) that sort `input` along `dim`. Equal elements keep their order."""
    x = as_tensor(input)
    axis, xp = normal_axis(dim, x.ndim, "dim"), array_module(x.data)
    if not descending:
        return as_tensor(xp.argsort(x.data, axis=axis, kind="stable"))
    order = xp.argsort(xp.flip(x.data, axis), axis=axis, kind="stable")
    return as_tensor(xp.flip(x.shape[axis] - 1 - order, axis))


def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Chosen:
    """Return `input` sorted along `dim`, and the indices. Equal elements keep their order."""
    x = as_tensor(input)
    order = argsort(x, dim, descending)
    return Chosen(F.gather(x, dim, order), order)


def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Chosen:
    """Return the k largest (or smallest) elements along `dim`, in order, and their indices.

    Of equal elements the first ones are taken. ValueError if there are fewer than k.
    """
    x = as_tensor(input)
    axis = normal_axis(dim, x.ndim, "dim")
    if not is_integer(k) or not 0 <= k <= x.shape[axis]:
        raise ValueError(
            f"topk: k must be an integer from 0 to {x.shape[axis]}, the size of dim {dim}, got {k}"
        )
    first = argsort(x, axis, largest)[(*(slice(None),) * axis, slice(k))]
    return Chosen(F.gather(x, axis, first), first)


def max(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the largest element; with `dim` the pair (values, indices) along it.

    `max(a, b)` of two tensors is `maximum(a, b)`. The method `x.max(axis)` gives values only, as
    NumPy's does; so do `amax` and `amin`.
    """
    return _extreme(input, dim, keepdim, F.max, F.argmax, maximum)


def min(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the smallest element; with `dim` the pair (values, indices) along it.

    `min(a, b)` of two tensors is `minimum(a, b)`. The method `x.min(axis)` gives values only.
    """
    return _extreme(input, dim, keepdim, F.min, F.argmin, minimum)


def _extreme(input: Any, dim: Any, keepdim: bool, values: Any, index: Any, pairwise: Any) -> Any:
    if isinstance(dim, Tensor):
        return pairwise(input, dim)
    x = as_tensor(input)
    if dim is None:
        return values(x)
    kept = index(x, dim, True)
    found = Chosen(F.gather(x, dim, kept), kept)
    return found if keepdim else Chosen(*(F.squeeze(part, dim) for part in found))


def amax(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Return the largest values over `dim` (an int, a tuple, or all); ties share the gradient."""
    return F.max(input, dim, keepdim)


def amin(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Return the smallest values over `dim` (an int, a tuple, or all); ties share the gradient."""
    return F.min(input, dim, keepdim)


def maximum(input: Any, other: Any) -> Tensor:
    """Return the larger of two elements; of equal ones each gets half of the gradient."""
    return _either(F.gt, as_tensor(input), as_tensor(other))


def minimum(input: Any, other: Any) -> Tensor:
    """Return the smaller of two elements; of equal ones each gets half of the gradient."""
    return _either(F.lt, as_tensor(input), as_tensor(other))


def _either(better: Any, a: Tensor, b: Tensor) -> Tensor:
    tied = a if a.dtype.kind in "biu" and b.dtype.kind in "biu" else 0.5 * a + 0.5 * b  # or nan
    return F.where(better(a, b), a, F.where(better(b, a), b, tied))
