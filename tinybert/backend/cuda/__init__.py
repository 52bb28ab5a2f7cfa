"""The CuPy backend: what a GPU does in place of the plain formulas.

`KERNELS` has, for the name of a formula (a `@kernel` of `tinybert.ops` or `tinybert.optim`), the
function that replaces it on a GPU. Elementwise kernels are CUDA C++ inside the Python files; those
over the rows of a matrix are in `rows.cu`, those over many tensors in `tensors.cu`. CuPy compiles a
kernel on first use and keeps it in its cache. No kernel adds atomically: the same input always
gives the same bits. Only the files of this folder import CuPy. A process uses its first GPU alone.

A step of decoding is not captured as a CUDA graph: during a capture CuPy (14) refuses every call of
cuBLAS, and the keys in the cache have another length at every step.
"""

from collections.abc import Callable
from typing import Any

from tinybert.backend.cuda import attention, elements, products, rows, sums, tensors
from tinybert.backend.cuda.library import tried_library

KERNELS: dict[str, Callable[..., Any]] = {
    **attention.KERNELS,
    **elements.KERNELS,
    **products.KERNELS,
    **rows.KERNELS,
    **sums.KERNELS,
    **tensors.KERNELS,
}
