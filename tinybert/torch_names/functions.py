"""Functions that torch has under other names or with other defaults than `tinybert.functional`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module, to_host
from tinybert.ops import indexing
from tinybert.ops.arguments import normal_axes, normal_axis, shape_argument
from tinybert.torch_names.dtypes import numpy_dtype

# --- arithmetic -----------------------------------------------------------------------------------


def square(input: Any) -> Tensor:
    """Return the square of each element."""
    x = as_tensor(input)
    return x * x


def reciprocal(input: Any) -> Tensor:
    """Return 1 / input."""
    return F.div(1.0, as_tensor(input))


def clamp(input: Any, min: float | None = None, max: float | None = None) -> Tensor:
    """Return the elements limited to min ... max; the gradient is 0 outside."""
    return F.clip(input, min, max)


def mm(input: Any, mat2: Any) -> Tensor:
    """Return the product of two matrices."""
    return _product("mm", 2, input, mat2)


def bmm(input: Any, mat2: Any) -> Tensor:
    """Return the products of two batches of matrices, (B, n, m) and (B, m, p)."""
    return _product("bmm", 3, input, mat2)


def dot(input: Any, tensor: Any) -> Tensor:
    """Return the inner product of two vectors."""
    return _product("dot", 1, input, tensor)


def _product(name: str, axes: int, a: Any, b: Any) -> Tensor:
    a, b = as_tensor(a), as_tensor(b)
    if (a.ndim, b.ndim) != (axes, axes):
        raise ValueError(
            f"{name}: both tensors must have {axes} axes, got shapes {a.shape} and {b.shape}; "
            "matmul takes any"
        )
    return F.matmul(a, b)


def outer(input: Any, vec2: Any) -> Tensor:
    """Return the products of every element of one vector with every element of another."""
    return F.unsqueeze(input, -1) * F.unsqueeze(vec2, 0)


def var(
    input: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *,
    correction: int | None = None,
) -> Tensor:  # fmt: skip
    """Return the variance, the sum of squares divided by n - correction.

    The correction is 1 (or 0 with `unbiased=False`), as in torch. The method `x.var(axis)` divides
    by n, as NumPy's does. `var(x, False)` is `var(x, unbiased=False)`.
    """
    dim, unbiased = (None, dim) if isinstance(dim, bool) else (dim, unbiased)
    return F.var(input, dim, keepdim, int(unbiased) if correction is None else correction)


def std(
    input: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *,
    correction: int | None = None,
) -> Tensor:  # fmt: skip
    """Return the square root of `var`, with the same arguments."""
    dim, unbiased = (None, dim) if isinstance(dim, bool) else (dim, unbiased)
    return F.std(input, dim, keepdim, int(unbiased) if correction is None else correction)


def norm(input: Any, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Return the p-norm over `dim`, for p = 1, 2 ("fro") or infinity.

    The gradient of the 2-norm of zeros is 0, as in torch.
    """
    x = as_tensor(input)
    if p in (2, "fro"):
        total = F.sum(x * x, dim, keepdim)
        zero = total == 0
        return F.masked_fill(F.sqrt(F.masked_fill(total, zero, 1.0)), zero, 0.0)
    if p == 1:
        return F.sum(F.abs(x), dim, keepdim)
    if p == float("inf"):
        return F.max(F.abs(x), dim, keepdim)
    raise ValueError(f'norm: p must be 1, 2, "fro" or inf, got {p!r}')


# --- truth ----------------------------------------------------------------------------------------


def any(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Return whether one element over `dim` is true (not 0)."""
    x = as_tensor(input)
    return as_tensor((x.data != 0).any(axis=normal_axes(dim, x.ndim), keepdims=keepdim))


def all(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Return whether all elements over `dim` are true (not 0)."""
    x = as_tensor(input)
    return as_tensor((x.data != 0).all(axis=normal_axes(dim, x.ndim), keepdims=keepdim))


def logical_and(input: Any, other: Any) -> Tensor:
    """Return whether both elements are true (not 0)."""
    return F.bitwise_and(F.ne(input, 0), F.ne(other, 0))


def logical_or(input: Any, other: Any) -> Tensor:
    """Return whether one of the two elements is true (not 0)."""
    return F.bitwise_or(F.ne(input, 0), F.ne(other, 0))


def logical_xor(input: Any, other: Any) -> Tensor:
    """Return whether exactly one of the two elements is true (not 0)."""
    return F.ne(F.ne(input, 0), F.ne(other, 0))


def isnan(input: Any) -> Tensor:
    """Return which elements are nan."""
    x = as_tensor(input)
    return x != x


def isinf(input: Any) -> Tensor:
    """Return which elements are infinite."""
    return F.eq(F.abs(as_tensor(input)), float("inf"))


def isfinite(input: Any) -> Tensor:
    """Return which elements are neither infinite nor nan."""
    return F.lt(F.abs(as_tensor(input)), float("inf"))


def equal(input: Any, other: Any) -> bool:
    """Return whether two tensors have the same shape and the same elements."""
    a, b = as_tensor(input), as_tensor(other)
    return a.shape == b.shape and bool((a == b).numpy().all())


def allclose(
    input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Return whether |input - other| <= atol + rtol |other| for all elements."""
    a, b = as_tensor(input).numpy(), as_tensor(other).numpy()
    return bool(np.allclose(a, b, rtol, atol, equal_nan))


def is_floating_point(input: Any) -> bool:
    """Return whether the dtype is floating."""
    return as_tensor(input).dtype.kind == "f"


def numel(input: Any) -> int:
    """Return the number of elements."""
    return int(as_tensor(input).data.size)


# --- shape ----------------------------------------------------------------------------------------


def cat(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Return tensors joined along an axis that they have; `concat` and `concatenate` too."""
    return F.concat(tensors, dim)


def t(input: Any) -> Tensor:
    """Return the transpose of a matrix; a vector or a number unchanged."""
    x = as_tensor(input)
    if x.ndim > 2:
        raise ValueError(f"t: a matrix is needed, got shape {x.shape}; use transpose or permute")
    return F.transpose(x)


def repeat(input: Any, *sizes: Any) -> Tensor:
    """Return `input` repeated along each axis: `repeat(x, 2, 3)`, or `x.repeat(2, 3)`.

    More numbers than axes add axes in front, as in torch (numpy.tile).
    """
    x, times = as_tensor(input), shape_argument(sizes)
    if len(times) < x.ndim:
        raise ValueError(
            f"repeat: a tensor with {x.ndim} axes needs at least {x.ndim} numbers, got {times}"
        )
    return tile(x, times)


def tile(input: Any, *dims: Any) -> Tensor:
    """Return `input` repeated along its last axes; missing numbers are 1 (numpy.tile)."""
    x, times = as_tensor(input), shape_argument(dims)
    times = (1,) * (x.ndim - len(times)) + times
    shape = (1,) * (len(times) - x.ndim) + x.shape
    if min(times, default=1) < 0:
        raise ValueError(f"repeat: the numbers must not be negative, got {times}")
    pairs = [(1, size) for size in shape]
    wide = [(time, size) for time, size in zip(times, shape, strict=True)]
    stretched = F.expand(F.reshape(x, sum(pairs, ())), sum(wide, ()))
    return F.reshape(stretched, tuple(time * size for time, size in wide))


def repeat_interleave(input: Any, repeats: Any, dim: int | None = None) -> Tensor:
    """Return every element along `dim` repeated in its place, `repeats` times (a number or one for
    each element). Without `dim` the tensor is flattened first.
    """
    x = as_tensor(input)
    x, axis = (F.flatten(x), 0) if dim is None else (x, normal_axis(dim, x.ndim, "dim"))
    times = to_host(repeats.data) if isinstance(repeats, Tensor) else repeats
    index = np.repeat(np.arange(x.shape[axis]), times)
    return index_select(x, axis, as_tensor(index, x.device))


def unbind(input: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Return the slices along `dim`, without that axis."""
    x = as_tensor(input)
    axis = normal_axis(dim, x.ndim, "dim")
    return tuple(select(x, axis, i) for i in range(x.shape[axis]))


# --- indexing -------------------------------------------------------------------------------------


def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """Return the indices (int64) of the elements that are not 0, in order.

    They are one tensor (N, ndim), or with `as_tuple` one tensor (N,) for each axis, which index.
    """
    found = indexing.nonzero(F.reshape(input, 1) if as_tensor(input).ndim == 0 else input)
    return unbind(found, 1) if as_tuple else found


def count_nonzero(input: Any, dim: Any = None) -> Tensor:
    """Return how many elements over `dim` are not 0."""
    return F.sum(F.ne(input, 0), dim)


def select(input: Any, dim: int, index: int) -> Tensor:
    """Return the slice at `index` of an axis, without that axis."""
    x = as_tensor(input)
    return x[(*(slice(None),) * normal_axis(dim, x.ndim, "dim"), index)]


def narrow(input: Any, dim: int, start: int, length: int) -> Tensor:
    """Return `length` slices of an axis, from `start`."""
    x = as_tensor(input)
    axis = normal_axis(dim, x.ndim, "dim")
    size = x.shape[axis]
    if not (-size <= start <= size and 0 <= length <= size - start % max(size, 1)):
        raise ValueError(
            f"narrow: start {start} and length {length} exceed dim {dim}, whose size is {size}"
        )
    start = start + size if start < 0 else start
    return x[(*(slice(None),) * axis, slice(start, start + length))]


def index_select(input: Any, dim: int, index: Any) -> Tensor:
    """Return the slices of an axis at the positions `index`, a vector of integers."""
    x = as_tensor(input)
    return x[(*(slice(None),) * normal_axis(dim, x.ndim, "dim"), as_tensor(index, x.device))]


def masked_select(input: Any, mask: Any) -> Tensor:
    """Return the elements where `mask` is true, as a vector; both are broadcast."""
    x, chosen = as_tensor(input), as_tensor(mask)
    shape = np.broadcast_shapes(x.shape, chosen.shape)
    return F.expand(x, shape)[F.expand(chosen, shape)]


def multinomial(input: Any, num_samples: int, replacement: bool = False) -> Tensor:
    """Draw indices (int64) with probabilities proportional to `input`, (n,) or (rows, n).

    Without replacement an index is drawn at most once a row: the largest log p + Gumbel noise
    (Kool et al. 2019, arXiv:1903.06059).
    """
    from tinybert.backend import generator_for
    from tinybert.torch_names.order import topk

    weights = as_tensor(input).data
    xp = array_module(weights)
    positive = int((weights > 0).sum(axis=-1).min())
    if bool((weights < 0).any()) or positive < (1 if replacement else num_samples):
        raise ValueError(
            "multinomial: input must not be negative, and without replacement each row needs "
            f"num_samples = {num_samples} positive numbers"
        )
    draws = (*weights.shape[:-1], num_samples if replacement else 1, weights.shape[-1])
    noise = -xp.log(-xp.log1p(-generator_for(weights).random(draws)))  # Gumbel
    with np.errstate(divide="ignore"):
        scores = as_tensor(xp.log(weights.astype("float64"))[..., None, :] + noise)
    return F.argmax(scores, -1) if replacement else topk(F.squeeze(scores, -2), num_samples)[1]


def to_dtype(input: Any, dtype: Any) -> Tensor:
    """Return the same values in another dtype; TypeError for bfloat16."""
    return F.astype(input, numpy_dtype(dtype))
