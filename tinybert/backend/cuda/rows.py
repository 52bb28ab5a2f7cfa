"""Kernels over the rows of a matrix: softmax, layer norm and cross entropy, by `rows.cu`."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tinybert.backend.cuda.launch import contiguous, on_rows
from tinybert.backend.cuda.sums import column_sums

Array = Any


def softmax_forward(x: Array) -> Array:
    """Overwrite a copy of x, one block of threads for each row."""
    y = x.copy(order="C")
    if y.size:
        rows = y.reshape(-1, y.shape[-1])
        on_rows("softmax", rows.shape, y.dtype, rows, rows.shape[1])
    return y


def softmax_backward(y: Array, dy: Array) -> Array:
    """Compute dx, one block of threads for each row."""
    dx = cupy.empty(y.shape, y.dtype)
    if y.size:
        shape = y.size // y.shape[-1], y.shape[-1]
        y, dy = contiguous(y), contiguous(dy, y.dtype)
        on_rows("softmax_backward", shape, y.dtype, y, dy, dx, shape[1])
    return dx


def layer_norm_forward(
    x: Array, weight: Array, bias: Array, eps: float, plus: float = 0
) -> tuple[Array, Array, Array]:
    """Normalise the rows, one block of threads for each."""
    x, weight, bias = (contiguous(a, x.dtype) for a in (x, weight, bias))
    y, x_hat, rstd = (cupy.empty(shape, x.dtype) for shape in (x.shape, x.shape, (len(x), 1)))
    on_rows(
        "layer_norm", x.shape, x.dtype, x, weight, bias, y, x_hat, rstd, x.shape[1], float(eps),
        float(plus),
    )  # fmt: skip
    return y, x_hat, rstd


def layer_norm_backward(
    dy: Array, x_hat: Array, rstd: Array, weight: Array, plus: float = 0
) -> tuple[Array, Array, Array]:
    """Compute dx, one block of threads for each row; then the sums over the rows."""
    dy, weight = contiguous(dy, x_hat.dtype), contiguous(weight, x_hat.dtype)
    dx = cupy.empty(x_hat.shape, x_hat.dtype)
    on_rows(
        "layer_norm_backward", dy.shape, dy.dtype, dy, x_hat, rstd, weight, dx, dy.shape[1],
        float(plus),
    )  # fmt: skip
    return dx, *column_sums(dy, x_hat)


def cross_entropy_forward(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Compute both results, one block of threads for each row."""
    logits, targets = contiguous(logits), contiguous(targets, np.int64)
    shapes = len(logits), (len(logits), 1)
    loss, log_total = (cupy.empty(shape, logits.dtype) for shape in shapes)
    on_rows(
        "cross_entropy", logits.shape, logits.dtype, logits, targets, loss, log_total,
        logits.shape[1],
    )  # fmt: skip
    return loss, log_total


KERNELS = {
    function.__name__: function
    for function in (
        softmax_forward, softmax_backward, layer_norm_forward, layer_norm_backward,
        cross_entropy_forward,
    )
}  # fmt: skip
