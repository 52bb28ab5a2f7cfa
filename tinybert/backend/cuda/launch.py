"""How kernels are compiled and launched: elementwise ones, and those of the `.cu` files."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import cupy
import numpy as np

Array = Any

FOLDER = Path(__file__).parent
TYPES = {"e": "half", "f": "float", "d": "double"}
MOST_THREADS = 256  # as in rows.cu

# W is the type in which T is computed: float for float16, else T. CuPy defines T for each dtype
# that a kernel is called with.
WIDE = """
template <typename S> struct Widened { typedef S type; };
template <> struct Widened<float16> { typedef float type; };
"""


@cache
def elementwise(inputs: str, outputs: str, operation: str, name: str, preamble: str = "") -> Any:
    """Return an elementwise kernel; in `operation`, W is the type to compute in."""
    return cupy.ElementwiseKernel(
        inputs, outputs, f"typedef Widened<T>::type W;\n{operation}", f"tinybert_{name}",
        preamble=WIDE + preamble,
    )  # fmt: skip


@cache
def source(file: str) -> str:
    """Return the code of a `.cu` file after the headers."""
    names = "common.cuh", "random.cuh", file
    return "".join((FOLDER / name).read_text("utf-8") for name in names)


@cache
def names(file: str) -> tuple[str, ...]:
    """Return the names of the kernels in a `.cu` file."""
    return tuple(re.findall(r"__global__ void (\w+)\(", source(file)))


@cache
def _module(file: str) -> Any:
    """Return a compiled `.cu` file, every kernel for each of the types."""
    return cupy.RawModule(
        code=source(file),
        options=("-std=c++17",),
        name_expressions=[f"{name}<{ctype}>" for name in names(file) for ctype in TYPES.values()],
    )


@cache
def function(file: str, name: str, dtype: str) -> Any:
    """Return a kernel of a `.cu` file for a dtype, by its character."""
    return _module(file).get_function(f"{name}<{TYPES[dtype]}>")


def on_rows(name: str, shape: tuple[int, int], dtype: Any, *arguments: Any) -> None:
    """Run a kernel of `rows.cu` for T = dtype, one block of threads a row."""
    rows, width = shape
    if rows and width:
        threads = min(MOST_THREADS, max(32, 1 << (width - 1).bit_length()))
        function("rows.cu", name, np.dtype(dtype).char)((rows,), (threads,), arguments)


def wide(dtype: Any) -> np.dtype:
    """Return the dtype in which a dtype is computed: float32 for float16."""
    return np.dtype("float32") if dtype == "float16" else np.dtype(dtype)


def contiguous(x: Array, dtype: Any = None) -> Array:
    """Return `x` in C order and in `dtype`: x itself where it is so already."""
    return cupy.ascontiguousarray(x, dtype)
