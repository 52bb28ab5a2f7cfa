"""The methods of `Tensor` that a user of torch expects beyond those of `tinybert.methods`.

What differs from torch, on purpose: `x.max(axis)` and `x.min(axis)` give values only and `x.var()`,
`x.std()` divide by n, as NumPy's do (`tinybert.max`, `tinybert.var` are torch's); `x.data` is the
array. `x.size` is the number of elements and `x.size()` the shape.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.methods import Methods
from tinybert.ops import in_place
from tinybert.ops.arguments import normal_axis
from tinybert.torch_names import (
    arithmetic,
    creation,
    dtypes,
    functions,
    order,
    rounding,
    trigonometry,
)


class ElementCount(int):
    """The number of elements of a tensor; called, its shape, or the size of one axis."""

    shape: tuple[int, ...]

    def __call__(self, dim: int | None = None) -> Any:
        """Return the shape, or the size of axis `dim`."""
        return self.shape if dim is None else self.shape[normal_axis(dim, len(self.shape), "dim")]


def count_elements(tensor: Tensor) -> ElementCount:
    """Return the number of elements; see ElementCount."""
    count = ElementCount(tensor.data.size)
    count.shape = tensor.data.shape
    return count


class TorchMethods(Methods):
    """What `Tensor` has besides, by torch's names."""

    __slots__ = ()

    # --- what it is -------------------------------------------------------------------------------

    def dim(self) -> builtins.int:
        """Return the number of axes."""
        return as_tensor(self).ndim

    def element_size(self) -> builtins.int:
        """Return the number of bytes of an element."""
        return as_tensor(self).dtype.itemsize

    def is_contiguous(self) -> builtins.bool:
        """Return whether the elements are in C order in memory."""
        return builtins.bool(as_tensor(self).data.flags.c_contiguous)

    def is_complex(self) -> builtins.bool:
        """Return whether the dtype is complex."""
        return as_tensor(self).dtype.kind == "c"

    @property
    def is_cuda(self) -> builtins.bool:
        """Whether the tensor is on a GPU."""
        return as_tensor(self).device != "cpu"

    ndimension = dim
    numel = functions.numel
    nelement = functions.numel
    is_floating_point = functions.is_floating_point

    # --- elementwise ------------------------------------------------------------------------------

    add = arithmetic.add
    sub = arithmetic.sub
    mul = F.mul
    div = arithmetic.div
    pow = F.pow
    neg = F.neg
    square = functions.square
    reciprocal = functions.reciprocal
    sin = trigonometry.sin
    cos = trigonometry.cos
    floor = rounding.floor
    ceil = rounding.ceil
    round = rounding.round
    sign = rounding.sign
    clamp = functions.clamp
    maximum = order.maximum
    minimum = order.minimum
    eq = F.eq
    ne = F.ne
    lt = F.lt
    le = F.le
    gt = F.gt
    ge = F.ge
    logical_and = functions.logical_and
    logical_or = functions.logical_or
    logical_xor = functions.logical_xor
    logical_not = F.logical_not

    def __invert__(self) -> Tensor:
        """Return `not x` of booleans, and of integers the inverse of each bit, -x - 1."""
        x = as_tensor(self)
        if x.dtype.kind not in "biu":
            raise TypeError(f"~ takes booleans or integers, got {x.dtype}; use logical_not")
        return F.logical_not(x) if x.dtype.kind == "b" else F.neg(x) - 1

    isnan = functions.isnan
    isinf = functions.isinf
    isfinite = functions.isfinite

    # --- products, reductions, order --------------------------------------------------------------

    matmul = F.matmul
    mm = functions.mm
    bmm = functions.bmm
    dot = functions.dot
    prod = arithmetic.prod
    norm = functions.norm
    amax = order.amax
    amin = order.amin
    any = functions.any
    all = functions.all
    sort = order.sort
    argsort = order.argsort
    topk = order.topk
    equal = functions.equal
    allclose = functions.allclose

    # --- shape and indexing -----------------------------------------------------------------------

    t = functions.t
    repeat = functions.repeat
    tile = functions.tile
    repeat_interleave = functions.repeat_interleave
    unbind = functions.unbind
    select = functions.select
    narrow = functions.narrow
    index_select = functions.index_select
    masked_select = functions.masked_select
    nonzero = functions.nonzero
    count_nonzero = functions.count_nonzero
    multinomial = functions.multinomial

    def view_as(self, other: Tensor) -> Tensor:
        """Return the elements in the shape of `other`."""
        return F.reshape(self, other.shape)

    def expand_as(self, other: Tensor) -> Tensor:
        """Return this tensor broadcast to the shape of `other`."""
        return F.expand(self, other.shape)

    reshape_as = view_as

    # --- new tensors of the same dtype, on the same device ----------------------------------------

    def new_tensor(self, data: Any, **options: Any) -> Tensor:
        """Return `data` as a Tensor of this dtype, on this device."""
        return creation.tensor(data, **_like(self, options))

    def new_zeros(self, *size: Any, **options: Any) -> Tensor:
        """Return zeros of a shape, of this dtype, on this device."""
        return creation.zeros(*size, **_like(self, options))

    def new_ones(self, *size: Any, **options: Any) -> Tensor:
        """Return ones of a shape, of this dtype, on this device."""
        return creation.ones(*size, **_like(self, options))

    def new_full(self, size: Any, fill_value: Any, **options: Any) -> Tensor:
        """Return a tensor of one value and a shape, of this dtype, on this device."""
        return creation.full(size, fill_value, **_like(self, options))

    # --- changes in place -------------------------------------------------------------------------

    def add_(self, other: Any, *, alpha: float = 1) -> Tensor:
        """Add alpha * other in place."""
        return in_place.add_(as_tensor(self), other if alpha == 1 else _scaled(self, other, alpha))

    def sub_(self, other: Any, *, alpha: float = 1) -> Tensor:
        """Subtract alpha * other in place."""
        return in_place.add_(as_tensor(self), -_scaled(self, other, alpha))

    def clamp_(self, min: float | None = None, max: float | None = None) -> Tensor:
        """Limit the elements to min ... max in place."""
        return in_place.copy_(as_tensor(self), functions.clamp(as_tensor(self).detach(), min, max))

    def masked_fill_(self, mask: Any, value: float) -> Tensor:
        """Replace the elements where `mask` is true, in place."""
        return in_place.copy_(as_tensor(self), F.masked_fill(as_tensor(self).detach(), mask, value))

    # --- dtypes -----------------------------------------------------------------------------------

    def type(self, dtype: Any = None) -> Any:
        """Return the name of the tensor's type, "tinybert.LongTensor"; with `dtype` convert to it.

        `dtype` may be a dtype, a tensor type (`tinybert.LongTensor`) or the name of one.
        """
        x = as_tensor(self)
        if dtype is None:
            kinds = {np.dtype(name): kind for kind, name in dtypes.TENSOR_TYPES.items()}
            return f"tinybert.{kinds.get(x.dtype, x.dtype)}"
        return functions.to_dtype(x, dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """Return the same values in the dtype of `other`, on its device."""
        return as_tensor(self).to(other.device, other.dtype)

    def bfloat16(self) -> Tensor:
        """Raise TypeError: NumPy has no bfloat16."""
        return functions.to_dtype(self, "bfloat16")

    def double(self) -> Tensor:
        """Return the same values in float64."""
        return F.astype(self, "float64")

    def half(self) -> Tensor:
        """Return the same values in float16."""
        return F.astype(self, "float16")

    def long(self) -> Tensor:
        """Return the same values in int64, fractions cut off."""
        return F.astype(self, "int64")

    def short(self) -> Tensor:
        """Return the same values in int16, fractions cut off."""
        return F.astype(self, "int16")

    def byte(self) -> Tensor:
        """Return the same values in uint8, fractions cut off."""
        return F.astype(self, "uint8")

    def int(self) -> Tensor:
        """Return the same values in int32, fractions cut off."""
        return F.astype(self, "int32")

    def bool(self) -> Tensor:
        """Return whether each element is true (not 0)."""
        return F.astype(self, "bool")


def _scaled(tensor: Any, other: Any, alpha: float) -> Any:
    """Return alpha * other, in the dtype in which it is added to `tensor`."""
    if not isinstance(other, (builtins.bool, builtins.int, float, complex)):
        other = as_tensor(other, tensor.device)
        other = F.astype(other, np.result_type(tensor.dtype, other.dtype))
    return other if alpha == 1 else other * alpha


def _like(tensor: Any, options: dict[str, Any]) -> dict[str, Any]:
    return {"dtype": tensor.dtype, "device": tensor.device, **options}
