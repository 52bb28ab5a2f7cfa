"""Softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.backend import Array, array_module, cpu, kernel
from tinybert.ops.arguments import as_floating, normal_axis


class Softmax(Function):
    """y_i = exp(x_i - max x) / sum_j exp(x_j - max x) over one axis.

    Oracle   torch.softmax. The maximum is subtracted so that exp cannot overflow; it cancels.

    From dy_i/dx_j = y_i (delta_ij - y_j):   dx = y * (dy - sum_j dy_j y_j).   Saved: y.
    """

    half_on = "cuda"

    def forward(self, x: Any, *, axis: int) -> Any:
        self.axis = normal_axis(axis, x.ndim)
        self.y = softmax_forward(as_floating(x).swapaxes(self.axis, -1))
        return self.y.swapaxes(self.axis, -1)

    def backward(self, dy: Any) -> Any:
        return softmax_backward(self.y, dy.swapaxes(self.axis, -1)).swapaxes(self.axis, -1)


@torch_keywords(dim="axis")
def softmax(input: Any, axis: int = -1) -> Tensor:
    """Return exp(x) / sum exp(x) over `axis`; a scalar counts as a vector of one element."""
    x = as_tensor(input)
    return Softmax.apply(x, axis=axis) if x.ndim else softmax(x.reshape(1), axis).reshape(())


# --- kernels, over the last axis ------------------------------------------------------------------


@kernel
def softmax_forward(x: Array) -> Array:
    """Return exp(x - max) / sum exp(x - max)."""
    if not x.shape[-1]:
        return x.copy()
    with np.errstate(invalid="ignore", under="ignore"):  # a row of -inf alone is nan
        y = array_module(x).exp(x - x.max(axis=-1, keepdims=True))
    return y / y.sum(axis=-1, keepdims=True)


@kernel
def softmax_backward(y: Array, dy: Array) -> Array:
    """Return dx = y * (dy - sum(dy * y))."""
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


@softmax_forward.on("cpu")
def softmax_on_cpu(x: Array) -> Array:
    """Overwrite a copy of x in blocks."""
    y = x.copy(order="C")
    if not y.size:
        return y
    rows = y.reshape(-1, y.shape[-1])

    def work(block: slice) -> None:
        part = rows[block]
        with np.errstate(invalid="ignore", under="ignore"):  # a row of -inf alone is nan
            part -= part.max(axis=-1, keepdims=True)
            np.exp(part, out=part)
        part *= 1 / part.sum(axis=-1, keepdims=True)

    cpu.in_blocks(work, rows.shape[0], rows.shape[1])
    return y


@softmax_backward.on("cpu")
def softmax_backward_on_cpu(y: Array, dy: Array) -> Array:
    """Do every step on a block of rows while it is in the cache."""
    shape = y.shape
    if y.size == 0:
        return np.empty_like(y)
    y, dy = (np.ascontiguousarray(a).reshape(-1, shape[-1]) for a in (y, dy))
    dx = np.empty_like(y)

    def work(block: slice) -> None:
        ys, dys, dxs = y[block], dy[block], dx[block]
        np.subtract(dys, np.einsum("nd,nd->n", dys, ys)[:, None], out=dxs)
        dxs *= ys

    cpu.in_blocks(work, *y.shape)
    return dx.reshape(shape)
