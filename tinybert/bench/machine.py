"""Describe the machine of a benchmark, and give all libraries the same number of threads."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import tinybert
from tinybert.backend.cpu import thread_count
from tinybert.processors import cores


def blas_threads() -> int | None:
    """Return the number of threads of NumPy's OpenBLAS; None for another BLAS."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for library in folder.glob("*openblas*"):
            handle = ctypes.CDLL(str(library))  # already loaded: returns the same library
            for name in ("scipy_openblas_get_num_threads64_", "openblas_get_num_threads64_"):
                if hasattr(handle, name):
                    return int(getattr(handle, name)())
    return None


def share_threads() -> int:
    """Give torch and the Rust tokenizers the number of threads of NumPy's BLAS and our kernels.

    Returns the number. To change it, set it before the start: OMP_NUM_THREADS=4 tinybert bench.
    """
    import torch

    threads = min(thread_count(), blas_threads() or thread_count())
    torch.set_num_threads(threads)
    os.environ["RAYON_NUM_THREADS"] = str(threads)  # read when the first batch is tokenized
    return threads


def describe() -> dict[str, Any]:
    """Return processor, cores, system, and versions of the libraries."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "cpu": _cpu_name(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "tinybert": tinybert.__version__,
        "numpy": f"{np.__version__} ({blas.get('name')} {blas.get('version')})",
        "torch": f"{_version('torch')} ({_torch_blas()})",
        "transformers": _version("transformers"),
        "tokenizers": _version("tokenizers"),
        "onnxruntime": _version("onnxruntime"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _torch_blas() -> str:
    import torch

    found = re.findall(r"BLAS_INFO=(\w+)|(oneDNN|MKL-DNN) v([\d.]+)", torch.__config__.show())
    names = [blas or f"{library} {number}" for blas, library, number in found]
    return ", ".join(names) or "BLAS unknown"


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    match = re.search(r"model name\s*:\s*(.+)", text)
    return match[1].strip() if match else platform.processor() or platform.machine()
