"""Products of matrices by cuBLAS: batched, with operands read in place, float16 on tensor cores.

CuPy's own product of more than two axes copies transposed operands and, in the versions up to 14,
converts float16 to float32. These kernels call cuBLAS directly. Sums are float32 for float16 and
float32. Operands in float32 are not rounded, unless CUPY_TF32=1 allows TF32, with 11 bits.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import cupy
import numpy as np
from cupy.cuda import cublas, device, runtime

from tinybert.backend.cuda.launch import contiguous

Array = Any

_NORMAL, _TRANSPOSED = 0, 1  # cublasOperation_t


class Matrices(NamedTuple):
    """A batch of matrices (N, I, J) as cuBLAS reads it.

    Attributes:
        array: what holds the memory. operation: 0, or 1 for matrices in column order.
        leading: elements from one row (or column) to the next. stride: from a matrix to the next.
    """

    array: Array
    operation: int
    leading: int
    stride: int


def batched(
    a: Array, b: Array, out: Array = None, alpha: float = 1.0, beta: float = 0.0, dtype: Any = None
) -> Array:
    """Return alpha * a @ b + beta * out for a (N, I, K) and b (N, K, J) of one floating dtype.

    The result (N, I, J) is `out`, whose matrices are in C order, or a new array of `dtype` (that of
    a by default). Operands may be transposed; they are copied only if cuBLAS cannot read them in
    place.
    """
    if a.dtype != b.dtype:
        raise TypeError(f"a product of {a.dtype} and {b.dtype}: both must have one dtype")
    (number, rows, inner), columns = a.shape, b.shape[-1]
    if out is None:
        out = cupy.empty((number, rows, columns), dtype or a.dtype)
    if not out.size:
        return out
    if not inner:
        out[...] = 0 if beta == 0 else out * beta
        return out
    left, right = _matrices(a), _matrices(b)
    factors = np.array([alpha, beta], "float64" if a.dtype == "float64" else "float32")
    kind, result = _TYPES[a.dtype.char](), _TYPES[out.dtype.char]()
    # cuBLAS counts in column order, where the memory of c = a @ b holds c^T = b^T @ a^T.
    cublas.gemmStridedBatchedEx(
        device.get_cublas_handle(), right.operation, left.operation, columns, rows, inner,
        factors[0:].ctypes.data,
        right.array.data.ptr, kind, right.leading, right.stride,
        left.array.data.ptr, kind, left.leading, left.stride,
        factors[1:].ctypes.data,
        out.data.ptr, result, columns, out.strides[0] // out.itemsize,
        number, _compute_type(a.dtype), cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip
    return out


_TYPES = {
    "e": lambda: runtime.CUDA_R_16F,
    "f": lambda: runtime.CUDA_R_32F,
    "d": lambda: runtime.CUDA_R_64F,
}


def _compute_type(dtype: Any) -> int:
    if dtype == "float64":
        return cublas.CUBLAS_COMPUTE_64F
    if dtype == "float32" and os.environ.get("CUPY_TF32", "0") not in ("", "0"):
        return cublas.CUBLAS_COMPUTE_32F_FAST_TF32
    return cublas.CUBLAS_COMPUTE_32F


def _matrices(x: Array) -> Matrices:
    """Return x (N, I, J) for cuBLAS; a copy if it cannot be read in place."""
    for _ in range(2):
        batch, row, column = (stride // x.itemsize for stride in x.strides)
        rows, columns = x.shape[1:]
        if (column == 1 or columns == 1) and (row >= columns or rows == 1):
            return Matrices(x, _NORMAL, max(row if rows > 1 else columns, 1), batch)
        if (row == 1 or rows == 1) and (column >= rows or columns == 1):
            return Matrices(x, _TRANSPOSED, max(column if columns > 1 else rows, 1), batch)
        x = contiguous(x)
    raise AssertionError("a contiguous array is read in place")


def has_one_stride(x: Array) -> bool:
    """Return whether the matrices of x (..., I, J) are at one distance in memory."""
    count, stride = 1, None
    for size, step in zip(x.shape[-3::-1], x.strides[-3::-1], strict=True):
        if size != 1:
            if stride is not None and step != stride * count:
                return False
            stride = step if stride is None else stride
            count *= size
    return True


def joined(x: Array) -> Array:
    """Return x (..., I, J) as (N, I, J), in place where the matrices have one stride."""
    x = x if has_one_stride(x) else contiguous(x)
    return x.reshape(int(np.prod(x.shape[:-2])), *x.shape[-2:])


def product(a: Array, b: Array) -> Array:
    """Return a @ b, as NumPy defines it for any number of axes."""
    alike = a.dtype == b.dtype and a.dtype.char in _TYPES
    if not alike or min(a.ndim, b.ndim) < 2 or a.ndim == b.ndim == 2 or not (a.size and b.size):
        return a @ b
    if b.ndim == 2:  # one product of all rows
        return (a.reshape(-1, a.shape[-1]) @ b).reshape(*a.shape[:-1], b.shape[-1])
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (joined(cupy.broadcast_to(x, (*lead, *x.shape[-2:]))) for x in (a, b))
    return batched(a, b).reshape(*lead, a.shape[-2], b.shape[-1])


def linear_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """Add the bias to the product in place."""
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y


_ones: dict[str, Array] = {}


def sum_of_rows(rows: Array) -> Array:
    """Multiply by a row of ones: cuBLAS spreads the sum over the GPU, in float32 for float16."""
    if rows.ndim != 2 or rows.dtype.char not in _TYPES or not rows.size:
        return rows.sum(axis=tuple(range(rows.ndim - 1)))
    ones = _ones.get(rows.dtype.char)
    if ones is None or len(ones) < len(rows):
        ones = _ones[rows.dtype.char] = cupy.ones(len(rows), rows.dtype)
    return ones[: len(rows)] @ rows


KERNELS: dict[str, Any] = {
    "product": product,
    "linear_forward": linear_forward,
    "sum_of_rows": sum_of_rows,
}
