"""cuBLAS's batched product on host memory, from the addresses and strides it is given."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tests.launches import launched

CUBLAS_GEMM_DEFAULT = -1
CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_64F = 68, 77, 70
_DTYPES = {0: np.float32, 1: np.float64, 2: np.float16}  # cudaDataType


def _matrices(
    address: int, kind: int, rows: int, columns: int, leading: int, stride: int, number: int
) -> np.ndarray:
    """Matrices (N, rows, columns) in column order at an address."""
    if leading < max(rows, 1):
        raise ValueError(f"CUBLAS_STATUS_INVALID_VALUE: leading dimension {leading} < {rows}")
    dtype = np.dtype(_DTYPES[kind])
    count = (number - 1) * stride + (columns - 1) * leading + rows
    memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    strides = (stride * dtype.itemsize, dtype.itemsize, leading * dtype.itemsize)
    return np.lib.stride_tricks.as_strided(
        np.frombuffer(memory, dtype), (number, rows, columns), strides, writeable=True
    )


def gemmStridedBatchedEx(
    handle: int, transa: int, transb: int, m: int, n: int, k: int,
    alpha: int, a: int, a_type: int, lda: int, a_stride: int,
    b: int, b_type: int, ldb: int, b_stride: int,
    beta: int, c: int, c_type: int, ldc: int, c_stride: int,
    number: int, compute: int, algorithm: int,
) -> None:  # fmt: skip
    """C = alpha * op(A) @ op(B) + beta * C, in the type to compute in."""
    launched("gemm")
    if a_type != b_type or (a_type == 1) != (compute == CUBLAS_COMPUTE_64F):
        raise ValueError("CUBLAS_STATUS_NOT_SUPPORTED: types do not match")
    wide: Any = np.float64 if compute == CUBLAS_COMPUTE_64F else np.float32
    scalar = ctypes.c_double if wide is np.float64 else ctypes.c_float
    factors = [scalar.from_address(at).value for at in (alpha, beta)]
    left = _matrices(a, a_type, *((k, m) if transa else (m, k)), lda, a_stride, number)
    right = _matrices(b, b_type, *((n, k) if transb else (k, n)), ldb, b_stride, number)
    left = left.swapaxes(1, 2) if transa else left
    right = right.swapaxes(1, 2) if transb else right
    out = _matrices(c, c_type, m, n, ldc, c_stride, number)
    with np.errstate(all="ignore"):
        result = np.matmul(left.astype(wide), right.astype(wide)) * wide(factors[0])
        if factors[1]:  # else C is not read: it may hold anything
            result += out.astype(wide) * wide(factors[1])
        out[...] = result
