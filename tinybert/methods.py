"""The operators and methods of `Tensor`, one line each.

A method is the function of the same operation: `x.sum(axis=1)` is `functional.sum(x, axis=1)`. A
type checker sees `Methods` as a base of Tensor. At run time `attach_methods` copies them to it,
since operations are built on Tensor: the file of Tensor cannot import them.

Conventions: reductions take `axis` (an int, a tuple or None) and `keepdims` as NumPy does; torch's
names of arguments (`dim`, `keepdim`, ...) are accepted as well; `max(axis)` and `min(axis)` return
values only; shapes may be given as one tuple or as several numbers.
"""

from __future__ import annotations

from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor, conversions
from tinybert.ops import copies, in_place, indexing


class Methods:
    """What operations add to Tensor."""

    __slots__ = ()

    # --- arithmetic (shapes broadcast) ------------------------------------------------------------

    __add__ = F.add
    __sub__ = F.sub
    __mul__ = F.mul
    __truediv__ = F.div
    __pow__ = F.pow
    __matmul__ = F.matmul
    __neg__ = F.neg
    __abs__ = F.abs

    def __radd__(self, other: Any) -> Tensor:
        return F.add(other, self)

    def __rsub__(self, other: Any) -> Tensor:
        return F.sub(other, self)

    def __rmul__(self, other: Any) -> Tensor:
        return F.mul(other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return F.div(other, self)

    def __rpow__(self, other: Any) -> Tensor:
        return F.pow(other, self)

    def __rmatmul__(self, other: Any) -> Tensor:
        return F.matmul(other, self)

    # --- comparisons and logic (boolean, no gradient; nothing equals None) ------------------------

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return False if other is None else F.eq(self, other)  # type: ignore[return-value]

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return True if other is None else F.ne(self, other)  # type: ignore[return-value]

    __lt__ = F.lt
    __le__ = F.le
    __gt__ = F.gt
    __ge__ = F.ge
    __and__ = F.bitwise_and
    __or__ = F.bitwise_or
    __invert__ = F.logical_not

    # --- elementwise ------------------------------------------------------------------------------

    exp = F.exp
    log = F.log
    sqrt = F.sqrt
    rsqrt = F.rsqrt
    abs = F.abs
    tanh = F.tanh
    sigmoid = F.sigmoid
    relu = F.relu
    erf = F.erf
    clip = F.clip
    masked_fill = F.masked_fill
    astype = F.astype
    float = copies.to_float32
    clone = F.clone
    contiguous = F.contiguous
    to = copies.to
    cpu = copies.to_cpu
    cuda = copies.to_cuda

    def where(self, condition: Any, other: Any) -> Tensor:
        """Return this tensor where `condition` is true, `other` elsewhere."""
        return F.where(condition, self, other)

    # --- reductions -------------------------------------------------------------------------------

    sum = F.sum
    mean = F.mean
    var = F.var
    std = F.std
    max = F.max
    min = F.min
    argmax = F.argmax
    argmin = F.argmin
    cumsum = F.cumsum
    softmax = F.softmax
    log_softmax = F.log_softmax
    logsumexp = F.logsumexp

    # --- shape ------------------------------------------------------------------------------------

    reshape = F.reshape
    view = F.reshape
    flatten = F.flatten
    transpose = F.transpose
    swapaxes = F.swapaxes
    permute = F.permute
    unsqueeze = F.unsqueeze
    squeeze = F.squeeze
    expand = F.expand
    split = F.split
    chunk = F.chunk
    pad = F.pad
    roll = F.roll
    flip = F.flip
    tril = F.tril
    triu = F.triu

    @property
    def T(self) -> Tensor:
        """All axes reversed."""
        return F.transpose(self)

    @property
    def mT(self) -> Tensor:
        """The last two axes swapped."""
        return F.transpose(self, -1, -2)

    # --- indexing and changes in place ------------------------------------------------------------

    __getitem__ = indexing.get_item
    nonzero = indexing.nonzero
    gather = F.gather
    scatter_add = F.scatter_add
    __setitem__ = in_place.set_item
    copy_ = in_place.copy_
    fill_ = in_place.fill_
    zero_ = in_place.zero_
    add_ = in_place.add_
    mul_ = in_place.mul_

    # --- spectra ----------------------------------------------------------------------------------

    rfft = F.rfft
    irfft = F.irfft

    # --- as Python objects ------------------------------------------------------------------------

    item = conversions.item
    tolist = conversions.tolist
    __array__ = conversions.to_numpy_array
    __len__ = conversions.length
    __iter__ = conversions.iterate
    __float__ = conversions.to_float
    __int__ = conversions.to_int
    __index__ = conversions.to_index
    __bool__ = conversions.to_bool
    __repr__ = conversions.to_text
    __format__ = conversions.formatted


def attach_methods(methods: type = Methods) -> None:
    """Copy the operators and methods to Tensor."""
    for name, member in vars(methods).items():
        if callable(member) or isinstance(member, property):
            setattr(Tensor, name, member)
