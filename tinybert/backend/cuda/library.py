"""CuPy as a backend: is there a GPU that works, moving arrays, and random generators."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import cupy
import numpy as np

Array = Any

# A generator's stream depends on how many states it has; CuPy's default differs between GPUs.
RANDOM_STATES = 1 << 16


def tried_library() -> tuple[Any, ...]:
    """Return what `Backend` needs, after a kernel and a product; raises CuPy's errors if they fail.

    A driver alone is not enough: CuPy may lack the compiler (NVRTC), the CUDA headers or cuBLAS,
    which its wheels do not contain.
    """
    if cupy.cuda.runtime.getDeviceCount():
        announce_compilation()
    one = cupy.ones((1, 1), "float32")
    twice = cupy.ElementwiseKernel("T x", "T y", "y = x + x", "tinybert_probe")(one)
    if float((twice @ one)[0, 0]) != 2:
        raise RuntimeError("1 + 1 is not 2 on it")
    return ("cuda", cupy, cupy.ndarray, new_generator, from_host, to_host, index_of)


def announce_compilation() -> None:
    """Say on a terminal that the first use will be slow, if CuPy's cache of kernels is empty."""
    folder = Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache")
    if sys.stderr.isatty() and not any(folder.glob("*")):
        print(
            f"The first run on the GPU is slow: kernels are compiled when they are first used, and "
            f"kept in {folder}.",
            file=sys.stderr,
        )


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
