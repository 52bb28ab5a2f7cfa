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
    """Return x @ weight^T for rows x (N, I); for few rows in Fortran order.

    OpenBLAS copies weight before this product: for few rows the copy takes most of the time. With
    AVX-512 it copies nothing for weight @ x^T with up to 10^6 multiplications. For more than 8 rows
    it adds the terms of a result one by one: summed in blocks of 128, they lose less to rounding.
    """
    rows, width = x.shape
    few = cpu.HAS_AVX512 and 1 < rows <= 48 and rows * len(weight) > 1200
    block = width if rows <= 8 else next((n for n in range(128, 63, -1) if width % n == 0), 0)
    if not few or not block or x.dtype != np.float32 or weight.dtype != np.float32:
        return x @ weight.T
    columns = np.ascontiguousarray(x.T).reshape(-1, block, rows)
    weights = weight.reshape(len(weight), -1, block).swapaxes(0, 1)  # (blocks, O, block)
    threads = cpu.free_threads() if rows * weight.size >= 1 << 22 else 1
    step = min(max(8, 1_000_000 // (rows * block)), -(-len(weight) // threads))  # rows of weight
    y = np.empty((len(weight), rows), np.float32)

    def work(at: int) -> None:
        np.add.reduce(np.matmul(weights[:, at : at + step], columns), axis=0, out=y[at : at + step])

    cpu.for_each(work, range(0, len(weight), step), parallel=threads > 1)
    return y.T


@linear_forward.on("cpu")
def linear_on_cpu(x: Array, weight: Array, bias: Array | None) -> Array:
    """Add the bias to the product in place, in blocks over the cores."""
    y = product_on_cpu(x, weight)
    if bias is None:
        return np.ascontiguousarray(y)
    if not y.flags.c_contiguous or bias.dtype != y.dtype:
        return np.add(y, bias, order="C")

    def work(block: slice) -> None:
        y[block] += bias

    cpu.in_blocks(work, *y.shape)
    return y
