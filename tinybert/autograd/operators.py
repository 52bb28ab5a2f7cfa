"""The operators and methods of `Tensor`: what can be done with it, one line each.

Every method runs one operation of the floor above, `tinybert.ops`, which is where forward and
backward are written. To keep imports pointing downwards, `ops` plugs itself in here when the
package is imported. The same operations are plain functions in `tinybert.functional`.

Conventions: reductions take `axis` (an int, a tuple or None) and `keepdims` as NumPy does; torch's
names of arguments (`dim`, `keepdim`, ...) are taken everywhere as well; `max(axis)` and `min(axis)`
give values only; shapes may be given as one tuple or as several numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinybert.autograd.keywords import torch_keywords

if TYPE_CHECKING:
    from tinybert.autograd.tensor import Tensor

ops: Any = None  # the module tinybert.ops, set by tinybert/ops/__init__.py

_one_axis = torch_keywords(dim="axis")
_several_axes = torch_keywords(dims="axis")
_reduction = torch_keywords(dim="axis", keepdim="keepdims")
_variance = torch_keywords(dim="axis", keepdim="keepdims", correction="ddof", unbiased="ddof")


class Operators:
    """Mixin that gives `Tensor` its operators."""

    __slots__ = ()

    # --- arithmetic (shapes broadcast) ------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return ops.Add.apply(self, ops.operand(other, self))

    def __radd__(self, other: Any) -> Tensor:
        return ops.Add.apply(ops.operand(other, self), self)

    def __sub__(self, other: Any) -> Tensor:
        return ops.Sub.apply(self, ops.operand(other, self))

    def __rsub__(self, other: Any) -> Tensor:
        return ops.Sub.apply(ops.operand(other, self), self)

    def __mul__(self, other: Any) -> Tensor:
        return ops.Mul.apply(self, ops.operand(other, self))

    def __rmul__(self, other: Any) -> Tensor:
        return ops.Mul.apply(ops.operand(other, self), self)

    def __truediv__(self, other: Any) -> Tensor:
        return ops.Div.apply(self, ops.operand(other, self))

    def __rtruediv__(self, other: Any) -> Tensor:
        return ops.Div.apply(ops.operand(other, self), self)

    def __pow__(self, other: Any) -> Tensor:
        return ops.Pow.apply(self, ops.operand(other, self))

    def __rpow__(self, other: Any) -> Tensor:
        return ops.Pow.apply(ops.operand(other, self), self)

    def __matmul__(self, other: Any) -> Tensor:
        return ops.MatMul.apply(self, ops.operand(other, self))

    def __rmatmul__(self, other: Any) -> Tensor:
        return ops.MatMul.apply(ops.operand(other, self), self)

    def __neg__(self) -> Tensor:
        return ops.Neg.apply(self)

    def __abs__(self) -> Tensor:
        return ops.Abs.apply(self)

    # --- comparisons and logic (boolean, no gradient; nothing equals None) ------------------------

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        if other is None:
            return False  # type: ignore[return-value]
        return ops.Compare.apply(self, ops.operand(other, self), relation="equal")

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        if other is None:
            return True  # type: ignore[return-value]
        return ops.Compare.apply(self, ops.operand(other, self), relation="not_equal")

    def __lt__(self, other: Any) -> Tensor:
        return ops.Compare.apply(self, ops.operand(other, self), relation="less")

    def __le__(self, other: Any) -> Tensor:
        return ops.Compare.apply(self, ops.operand(other, self), relation="less_equal")

    def __gt__(self, other: Any) -> Tensor:
        return ops.Compare.apply(self, ops.operand(other, self), relation="greater")

    def __ge__(self, other: Any) -> Tensor:
        return ops.Compare.apply(self, ops.operand(other, self), relation="greater_equal")

    def __and__(self, other: Any) -> Tensor:
        return ops.Compare.apply(self, ops.operand(other, self), relation="bitwise_and")

    def __or__(self, other: Any) -> Tensor:
        return ops.Compare.apply(self, ops.operand(other, self), relation="bitwise_or")

    def __invert__(self) -> Tensor:
        return ops.Compare.apply(self, True, relation="not_equal")

    # --- elementwise ------------------------------------------------------------------------------

    def exp(self) -> Tensor:
        """e to the power of every element."""
        return ops.Exp.apply(self)

    def log(self) -> Tensor:
        """The natural logarithm."""
        return ops.Log.apply(self)

    def sqrt(self) -> Tensor:
        """The square root."""
        return ops.Sqrt.apply(self)

    def rsqrt(self) -> Tensor:
        """One over the square root."""
        return ops.Rsqrt.apply(self)

    def abs(self) -> Tensor:
        """The absolute value."""
        return ops.Abs.apply(self)

    def tanh(self) -> Tensor:
        """The hyperbolic tangent."""
        return ops.Tanh.apply(self)

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x))."""
        return ops.Sigmoid.apply(self)

    def relu(self) -> Tensor:
        """max(x, 0)."""
        return ops.Relu.apply(self)

    def erf(self) -> Tensor:
        """The error function."""
        return ops.Erf.apply(self)

    def clip(self, min: float | None = None, max: float | None = None) -> Tensor:
        """Every element held between `min` and `max`."""
        return ops.Clip.apply(self, low=min, high=max)

    def masked_fill(self, mask: Any, value: float) -> Tensor:
        """`value` where the boolean `mask` (broadcast to this shape) is true, this tensor
        elsewhere.
        """
        return ops.MaskedFill.apply(self, ops.operand(mask, self), value=value)

    def where(self, condition: Any, other: Any) -> Tensor:
        """This tensor where `condition` is true, `other` elsewhere."""
        return ops.Where.apply(ops.operand(condition, self), self, ops.operand(other, self))

    def astype(self, dtype: Any) -> Tensor:
        """The same values in another dtype; the gradient comes back in this one."""
        return ops.Cast.apply(self, dtype=dtype)

    def float(self) -> Tensor:
        """The same values in float32."""
        return self.astype("float32")

    def clone(self) -> Tensor:
        """A copy, still connected to the graph."""
        return ops.Clone.apply(self)

    def contiguous(self) -> Tensor:
        """The same values in C order; the tensor itself if it is in that order already."""
        return self if self.data.flags.c_contiguous else self.clone()  # type: ignore[attr-defined,return-value]

    def _move(self, device: str) -> Tensor:
        return ops.ToDevice.apply(self, device=device)

    # --- reductions -------------------------------------------------------------------------------

    @_reduction
    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The sum over `axis`."""
        return ops.Sum.apply(self, axis=axis, keepdims=keepdims)

    @_reduction
    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The mean over `axis`."""
        return ops.Mean.apply(self, axis=axis, keepdims=keepdims)

    @_variance
    def var(self, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
        """The variance over `axis`: squared distances from the mean, divided by (count - ddof)."""
        return ops.Var.apply(self, ddof=ddof, axis=axis, keepdims=keepdims)

    @_variance
    def std(self, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
        """The square root of the variance."""
        return self.var(axis, keepdims, ddof).sqrt()

    @_reduction
    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The largest value over `axis`; tied largest values share the gradient equally."""
        return ops.Max.apply(self, axis=axis, keepdims=keepdims)

    @_reduction
    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The smallest value over `axis`; tied smallest values share the gradient equally."""
        return ops.Min.apply(self, axis=axis, keepdims=keepdims)

    @_reduction
    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The index of the (first) largest value over `axis`, or in the flattened tensor."""
        return ops.ArgMax.apply(self, axis=axis, keepdims=keepdims)

    @_reduction
    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The index of the (first) smallest value over `axis`, or in the flattened tensor."""
        return ops.ArgMin.apply(self, axis=axis, keepdims=keepdims)

    @_one_axis
    def cumsum(self, axis: int | None = None) -> Tensor:
        """Running sums along `axis`; of the flattened tensor if no axis is given, as NumPy does."""
        return ops.CumSum.apply(self, axis=axis)

    @_one_axis
    def softmax(self, axis: int = -1) -> Tensor:
        """exp(x) / sum exp(x) over `axis`."""
        return ops.Softmax.apply(self, axis=axis)

    @_one_axis
    def log_softmax(self, axis: int = -1) -> Tensor:
        """x - logsumexp(x) over `axis`."""
        return ops.LogSoftmax.apply(self, axis=axis)

    @_reduction
    def logsumexp(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """log(sum(exp(x))) over `axis`, without overflow."""
        return ops.LogSumExp.apply(self, axis=axis, keepdims=keepdims)

    # --- shape ------------------------------------------------------------------------------------

    @torch_keywords(shape="*", size="*")
    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; one axis may be -1."""
        return ops.Reshape.apply(self, shape=ops.shape_argument(shape))

    view = reshape

    @torch_keywords(start_dim="start_axis", end_dim="end_axis")
    def flatten(self, start_axis: int = 0, end_axis: int = -1) -> Tensor:
        """Axes `start_axis` to `end_axis` joined into one."""
        return self.reshape(ops.flattened_shape(self, start_axis, end_axis))

    @torch_keywords(dim0="*", dim1="*")
    def transpose(self, *axes: Any) -> Tensor:
        """`transpose(a, b)` swaps two axes; `transpose()` reverses all, `transpose(*order)`
        permutes as NumPy does.
        """
        return ops.Permute.apply(self, axes=ops.transposed_axes(self, axes))

    @torch_keywords(axis0="a", axis1="b")
    def swapaxes(self, a: int, b: int) -> Tensor:
        """Two axes swapped."""
        return self.transpose(a, b)

    @torch_keywords(dims="*")
    def permute(self, *axes: Any) -> Tensor:
        """The axes in another order."""
        return ops.Permute.apply(self, axes=ops.shape_argument(axes))

    @property
    def T(self) -> Tensor:
        """All axes reversed."""
        return self.transpose()

    @property
    def mT(self) -> Tensor:
        """The last two axes swapped."""
        return self.transpose(-1, -2)

    @_one_axis
    def unsqueeze(self, axis: int) -> Tensor:
        """A new axis of size 1 at `axis`."""
        return self.reshape(ops.unsqueezed_shape(self, axis))

    @_one_axis
    def squeeze(self, axis: Any = None) -> Tensor:
        """Without the axes of size 1 (all, or those named; as in torch, a named axis of another
        size stays).
        """
        return self.reshape(ops.squeezed_shape(self, axis))

    @torch_keywords(size="*")
    def expand(self, *shape: Any) -> Tensor:
        """Axes of size 1 repeated to `shape` without a copy; -1 keeps a size."""
        return ops.Expand.apply(self, shape=ops.shape_argument(shape))

    @torch_keywords(split_size="sizes", split_size_or_sections="sizes", dim="axis")
    def split(self, sizes: int | list[int], axis: int = 0) -> tuple[Tensor, ...]:
        """Pieces of `sizes` elements along `axis` (the last may be smaller), or one piece a listed
        size.
        """
        return ops.Split.apply(self, sizes=sizes, axis=axis)

    @_one_axis
    def chunk(self, chunks: int, axis: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` pieces of equal size along `axis` (the last may be smaller)."""
        return self.split(ops.chunk_size(self, chunks, axis), axis)

    def pad(self, widths: Any, value: Any = 0) -> Tensor:
        """`value` added around: `widths` is ((before, after), ...), one pair an axis, as
        `numpy.pad` takes it.
        """
        return ops.Pad.apply(self, widths=widths, value=value)

    @_several_axes
    def roll(self, shifts: Any, axis: Any = None) -> Tensor:
        """Elements moved along `axis`, those that fall off coming in at the other end."""
        return ops.Roll.apply(self, shifts=shifts, axis=axis)

    @_several_axes
    def flip(self, axis: Any = None) -> Tensor:
        """The order along `axis` (all axes if None) reversed."""
        return ops.Flip.apply(self, axis=axis)

    def tril(self, diagonal: int = 0) -> Tensor:
        """The lower triangle of the last two axes, zeros above `diagonal`."""
        return ops.Tril.apply(self, diagonal=diagonal)

    def triu(self, diagonal: int = 0) -> Tensor:
        """The upper triangle of the last two axes, zeros below `diagonal`."""
        return ops.Triu.apply(self, diagonal=diagonal)

    # --- indexing ---------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Tensor:
        return ops.GetItem.apply(self, index=index)

    @_one_axis
    def gather(self, axis: int, index: Any) -> Tensor:
        """out[i][j] = self[index[i][j]][j] for axis 0, and so on: torch's `gather`."""
        return ops.Gather.apply(self, ops.operand(index, self), axis=axis)

    @torch_keywords(dim="axis", src="source")
    def scatter_add(self, axis: int, index: Any, source: Any) -> Tensor:
        """A copy to which out[index[i][j]][j] += source[i][j] was added, for axis 0 and so on:
        torch's `scatter_add`.
        """
        return ops.ScatterAdd.apply(
            self, ops.operand(index, self), ops.operand(source, self), axis=axis
        )

    # --- spectra ----------------------------------------------------------------------------------

    @_one_axis
    def rfft(self, n: int | None = None, axis: int = -1) -> Tensor:
        """The discrete Fourier transform of real values: complex, n // 2 + 1 long along `axis`."""
        return ops.RFFT.apply(self, n=n, axis=axis)

    @_one_axis
    def irfft(self, n: int | None = None, axis: int = -1) -> Tensor:
        """The inverse of `rfft`: n real values along `axis`."""
        return ops.IRFFT.apply(self, n=n, axis=axis)
