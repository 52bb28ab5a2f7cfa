"""Shared code of the GPU kernels: CuPy, elementwise kernels, and kernels over rows.

The kernels are in `tinybert.ops`, after their formulas. Elementwise ones are written there in CUDA
C++; those that need a whole row are in `rows.cu`, which CuPy compiles on first use and keeps in its
cache. No kernel adds atomically: the same input always gives the same bits. This is the only file
that imports CuPy. A process uses its first GPU alone.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import cupy
import numpy as np
from cupyx.scipy import special

Array = Any

# A generator's stream depends on how many states it has; CuPy's default differs between GPUs.
RANDOM_STATES = 1 << 16


def tried_library() -> tuple[Any, ...]:
    """Return what `Backend` needs, after a kernel and a product; raises CuPy's errors if they fail.

    A driver alone is not enough: CuPy may lack the compiler (NVRTC), the CUDA headers or cuBLAS,
    which its wheels do not contain.
    """
    one = cupy.ones((1, 1), "float32")
    twice = cupy.ElementwiseKernel("T x", "T y", "y = x + x", "tinybert_probe")(one)
    if float((twice @ one)[0, 0]) != 2:
        raise RuntimeError("1 + 1 is not 2 on it")
    return ("cuda", cupy, cupy.ndarray, new_generator, from_host, to_host, index_of)


def from_host(array: np.ndarray, index: int) -> Array:
    """Return a copy of a NumPy array on GPU `index`."""
    with cupy.cuda.Device(index):
        return cupy.asarray(array)


def to_host(array: Array) -> np.ndarray:
    """Return a copy of a CuPy array on the host."""
    return cupy.asnumpy(array)


def index_of(array: Array) -> int:
    """Return the number of the GPU that holds `array`."""
    return array.device.id


def new_generator(seed: int | tuple[int, ...] | None) -> Any:
    """Return a random generator on the current GPU; its stream depends on the seed alone."""
    return cupy.random.Generator(cupy.random.Philox4x3210(seed, size=RANDOM_STATES))


def erf(x: Array) -> Array:
    """Return erf(x), elementwise, in the dtype of x."""
    return special.erf(x).astype(x.dtype, copy=False)


# --- elementwise ----------------------------------------------------------------------------------

# The type in which a dtype is computed: float16 in float32. CuPy defines T for each dtype that a
# kernel is called with.
_WIDE = """
template <typename S> struct Widened { typedef S type; };
template <> struct Widened<float16> { typedef float type; };
"""
_W = "typedef Widened<T>::type W;"


@cache
def elementwise(inputs: str, outputs: str, operation: str, name: str) -> Any:
    """Return an elementwise kernel; in `operation`, W is the type to compute in."""
    return cupy.ElementwiseKernel(
        inputs, outputs, f"{_W}\n{operation}", f"tinybert_{name}", preamble=_WIDE
    )


sum_of_products = cupy.ReductionKernel(
    "T x, T y",
    "T out",
    "_type_reduce(x) * _type_reduce(y)",
    "a + b",
    "out = T(a)",
    "0",
    "tinybert_sum_of_products",
    reduce_type="Widened<T>::type",
    preamble=_WIDE,
)


# --- rows -----------------------------------------------------------------------------------------

_SOURCE = Path(__file__).with_name("rows.cu")
_TYPES = {"e": "half", "f": "float", "d": "double"}
_MOST_THREADS = 256  # as in rows.cu


@cache
def _module() -> Any:
    """Return the compiled `rows.cu`, every kernel for each of the types."""
    code = _SOURCE.read_text(encoding="utf-8")
    kernels = re.findall(r"__global__ void (\w+)\(", code)
    return cupy.RawModule(
        code=code,
        options=("-std=c++17",),
        name_expressions=[f"{name}<{ctype}>" for name in kernels for ctype in _TYPES.values()],
    )


@cache
def _row_kernel(name: str, dtype: str) -> Any:
    return _module().get_function(f"{name}<{_TYPES[dtype]}>")


def on_rows(name: str, shape: tuple[int, int], *arguments: Any) -> None:
    """Run a kernel of `rows.cu`, one block a row; the first argument's dtype chooses T."""
    rows, width = shape
    if rows and width:
        threads = min(_MOST_THREADS, max(32, 1 << (width - 1).bit_length()))
        _row_kernel(name, arguments[0].dtype.char)((rows,), (threads,), arguments)


def matrix(x: Array, dtype: Any = None) -> Array:
    """Return `x` as contiguous rows (N, D), where D is its last axis."""
    return cupy.ascontiguousarray(x, dtype).reshape(-1, x.shape[-1])
