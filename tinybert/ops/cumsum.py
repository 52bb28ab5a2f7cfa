"""Cumulative sums."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.ops.arguments import converted, normal_axis, result_dtype, sum_dtype


class CumSum(Function):
    """y_i = x_0 + ... + x_i along `axis`; None flattens first.

    x_j is part of every y_i with i >= j, so dx_j = sum_{i >= j} dy_i: the running sum of dy
    taken from the end.   Oracle   torch.cumsum
    """

    def forward(self, x: Any, *, axis: int | None) -> Any:
        self.shape = x.shape
        x = x.reshape(-1) if axis is None else x
        self.axis = normal_axis(0 if axis is None else axis, x.ndim)
        return converted(x.cumsum(axis=self.axis, dtype=sum_dtype(x)), result_dtype(x))

    def backward(self, dy: Any) -> Any:
        backwards = (*(slice(None),) * self.axis, slice(None, None, -1))
        sums = dy[backwards].cumsum(axis=self.axis, dtype=sum_dtype(dy))[backwards]
        return converted(sums, dy.dtype).reshape(self.shape)


@torch_keywords(dim="axis")
def cumsum(input: Any, axis: int | None = None) -> Tensor:
    """Return cumulative sums along `axis`, or of the flattened tensor if axis is None."""
    return CumSum.apply(as_tensor(input), axis=axis)
