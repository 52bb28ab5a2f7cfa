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
    """Return x @ weight^T for rows x (N, I); weight is read in parts where there are few rows.

    OpenBLAS copies weight before such a product, which takes longer than a few rows. With AVX-512
    it copies nothing for up to 10^6 multiplications and 1,200 results.
    """
    rows, width = x.shape
    step = min(1_000_000 // max(rows * width, 1), 1200 // max(rows, 1))  # rows of weight in a part
    few = cpu.HAS_AVX512 and 1 < rows <= 40 and step >= 8
    if not few or x.dtype != np.float32 or weight.dtype != np.float32:
        return x @ weight.T
    y, parts = np.empty((rows, len(weight)), np.float32), range(0, len(weight), step)

    def work(part: int) -> None:
        np.matmul(x, weight[part : part + step].T, out=y[:, part : part + step])

    cpu.for_each(work, parts, parallel=rows * weight.size >= 1 << 22)
    return y


@linear_forward.on("cpu")
def linear_on_cpu(x: Array, weight: Array, bias: Array | None) -> Array:
    """Add the bias to the product in place, in blocks over the cores."""
    y = product_on_cpu(x, weight)
    if bias is None:
        return y

    def work(block: slice) -> None:
        y[block] += bias

    cpu.in_blocks(work, *y.shape)
    return y
