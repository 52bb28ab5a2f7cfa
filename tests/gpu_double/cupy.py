"""The modules `cupy` and `cupyx` as far as `tinybert/backend/cuda` uses them."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tinybert.backend
from tests.gpu_double import compiled, cublas, nccl
from tests.launches import launched
from tests.strict import StrictGenerator, from_host, strict
from tests.strict_array import StrictArray
from tinybert.backend import device as devices


def _asarray(data: Any, dtype: Any = None) -> StrictArray:
    """CuPy's `asarray` also moves host arrays; only `backend/cuda` may use that."""
    if isinstance(data, np.ndarray):
        return from_host(data if dtype is None else data.astype(dtype), 0)
    return strict.asarray(data, dtype)


def _erf(x: StrictArray) -> StrictArray:
    launched("erf")
    values = [math.erf(value) for value in x._array.ravel().tolist()]
    return StrictArray(np.array(values, x.dtype).reshape(x.shape))


def modules() -> dict[str, ModuleType]:
    """The modules by their full names."""
    made = {
        name: ModuleType(name)
        for name in ("cupy", "cupy.cuda", "cupyx", "cupyx.scipy", "cupyx.scipy.special")
    }
    cupy: Any = made["cupy"]
    cupy.__dict__.update(vars(strict))
    cupy.__dict__.update(
        asarray=_asarray, asnumpy=lambda array: array.get(), cuda=made["cupy.cuda"],
        ElementwiseKernel=compiled.ElementwiseKernel, RawModule=compiled.RawModule,
        random=ModuleType("cupy.random"),
    )  # fmt: skip
    cupy.random.Generator = lambda bits: StrictGenerator(bits)
    cupy.random.Philox4x3210 = lambda seed, size: seed
    cuda: Any = made["cupy.cuda"]
    cuda.cublas, cuda.runtime, cuda.device = cublas, ModuleType("runtime"), ModuleType("device")
    cuda.runtime.getDeviceCount = lambda: 1
    cuda.runtime.CUDA_R_32F, cuda.runtime.CUDA_R_64F, cuda.runtime.CUDA_R_16F = 0, 1, 2
    cuda.device.get_cublas_handle = lambda: 1
    cuda.Device = lambda index=0: contextlib.nullcontext()
    cuda.nccl, cuda.Stream, cuda.get_current_stream = nccl, nccl.Stream, nccl.get_current_stream
    made["cupyx.scipy"].special = made["cupyx.scipy.special"]  # type: ignore[attr-defined]
    made["cupyx.scipy.special"].erf = _erf  # type: ignore[attr-defined]
    return made


OURS = "tinybert.backend.cuda"


@contextmanager
def gpu(probe: bool = True) -> Iterator[devices.Backend]:
    """Inside, the device "cuda" is the double, whose arrays are those of `strict`.

    Without `probe` no kernel runs, and no compiler is needed.
    """
    if probe and compiled.COMPILER is None:
        pytest.skip("g++ is not installed: the double cannot run CUDA C++")
    before = {n: m for n, m in sys.modules.items() if n.split(".")[0] in ("cupy", "cupyx")}
    before |= {n: m for n, m in sys.modules.items() if n == OURS or n.startswith(f"{OURS}.")}
    backends = dict(devices._backends)
    for name in before:
        del sys.modules[name]
    sys.modules.update(modules())
    try:
        from tinybert.backend import cuda

        if probe:
            cuda.tried_library()
        devices._backends.pop("strict", None)
        from tinybert.backend.cuda import library

        backend = devices.Backend(
            "cuda", strict, StrictArray, library.new_generator, library.from_host,
            library.to_host, library.index_of, kernels=cuda.KERNELS,
        )  # fmt: skip
        devices.register_backend(backend)
        yield backend
    finally:
        for name in [n for n in sys.modules if n.split(".")[0] in ("cupy", "cupyx")]:
            del sys.modules[name]
        for name in [n for n in sys.modules if n == OURS or n.startswith(f"{OURS}.")]:
            del sys.modules[name]
        vars(tinybert.backend).pop("cuda", None)  # set by the import of the submodule
        sys.modules.update(before)
        if OURS in before:
            tinybert.backend.cuda = before[OURS]  # type: ignore[attr-defined]
        devices._backends.clear()
        for backend in backends.values():
            devices.register_backend(backend)
