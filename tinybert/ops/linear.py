"""The linear layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, cpu, kernel
from tinybert.ops.arguments import unbroadcast


class Linear(Function):
    """y = x @ weight^T + bias: the affine map of every dense layer.

    Shapes   x (..., I)   weight (O, I)   bias (O,) or None   y (..., O)
    Oracle   torch.nn.functional.linear

        dx = dy @ weight      dweight = dy^T @ x      dbias = sum of dy over all rows

    All axes but the last are rows: one large product is faster than one for each sequence.
    """

    half_on = "cuda"

    def forward(self, x: Any, weight: Any, bias: Any = None) -> Any:
        if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
            raise ValueError(
                f"linear: x of shape {x.shape} must end in in_features of weight (out, in) = "
                f"{weight.shape}"
            )
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(f"linear: bias must have shape {weight.shape[:1]}, got {bias.shape}")
        self.x, self.weight = x, weight
        self.rows = math.prod(x.shape[:-1])
        y = self.product(x.reshape(self.rows, x.shape[-1]), weight, bias)  # (rows, O)
        return y.reshape(*x.shape[:-1], weight.shape[0])

    def product(self, rows: Any, weight: Any, bias: Any) -> Any:
        """Return the output (N, O) for rows (N, I)."""
        return linear_forward(rows, weight, bias)

    def backward(self, dy: Any) -> Any:
        x, weight = self.x, self.weight
        rows = dy.reshape(self.rows, dy.shape[-1])  # (rows, O)
        need = (*self.needs_input_grad, False)[:3]
        dx = (rows @ weight).reshape(x.shape) if need[0] else None
        dweight = rows.T @ x.reshape(self.rows, x.shape[-1]) if need[1] else None
        dbias = sum_of_rows(rows) if need[2] else None
        return (dx, dweight, dbias)[: len(self.needs_input_grad)]


def linear(input: Any, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return input @ weight^T + bias, (..., O), for input (..., I), weight (O, I) and bias (O,)."""
    inputs = (as_tensor(input), weight) if bias is None else (as_tensor(input), weight, bias)
    return Linear.apply(*inputs)


# --- kernels --------------------------------------------------------------------------------------


@kernel
def sum_of_rows(rows: Array) -> Array:
    """Return the sum (O,) of rows (N, O)."""
    return unbroadcast(rows, rows.shape[1:])


@kernel
def linear_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """Return x @ weight^T + bias for rows x (N, I)."""
    y = x @ weight.T
    return y if bias is None else y + bias


def product_on_cpu(x: Array, weight: Array) -> Array:
    """Return x @ weight^T for rows x (N, I).

    OpenBLAS copies weight first: for few rows this takes most of the time. With AVX-512 it copies
    nothing for up to 1,200 results and 10^6 multiplications, and adds each up in 16 parts, which
    lose less to rounding. Its many streams of memory are prefetched, or first read into the cache.
    """
    rows, width = x.shape
    columns = min(32, 1200 // rows, 1_000_000 // x.size) // 4 * 4 if x.size else 0
    few = cpu.HAS_AVX512 and 1 < rows <= 24 and columns and rows * len(weight) > 1200
    if not few or not x.dtype == weight.dtype == np.float32 or not weight.flags.c_contiguous:
        return x @ weight.T
    x, y = np.ascontiguousarray(x), np.empty((rows, len(weight)), np.float32)
    whole = len(weight) // columns * columns
    tiles = weight[:whole].reshape(-1, columns, width)
    out = y[:, :whole].reshape(rows, -1, columns).swapaxes(0, 1)
    step = max(1, (1 << (18 if cpu.READS_AHEAD else 17)) // (columns * width))  # up to 1 MiB

    def work(at: int) -> None:
        some = tiles[at : at + step]
        if not cpu.READS_AHEAD:
            some.reshape(-1)[::16].max()  # reads one number of each line of the cache
        np.matmul(x, some.swapaxes(1, 2), out=out[at : at + step])

    cpu.for_each(work, range(0, len(tiles), step), parallel=rows * weight.size >= 1 << 22)
    np.matmul(x, weight[whole:].T, out=y[:, whole:])
    return y


@linear_forward.on("cpu")
def linear_on_cpu(x: Array, weight: Array, bias: Array | None) -> Array:
    """Add the bias to the product in place, in blocks over the cores."""
    y = product_on_cpu(x, weight)
    if bias is None or bias.dtype != y.dtype:
        return y if bias is None else y + bias

    def work(block: slice) -> None:
        y[block] += bias

    cpu.in_blocks(work, *y.shape)
    return y
