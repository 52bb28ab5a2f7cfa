"""NVRTC, CUDA's compiler, without a GPU: does it accept our kernels?

The library and the header cuda_fp16.h come with `pip install nvidia-cuda-nvrtc-cu12
nvidia-cuda-runtime-cu12`, or with CuPy's own extra [ctk].
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from tests.gpu_double.compiled import CTYPES, DTYPES, ElementwiseKernel

ARCHITECTURE = "compute_90"  # of an H100 or H200; any other accepts the same code


def _folder(package: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(f"nvidia.{package}")
    except ModuleNotFoundError:
        return None
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    return Path(places[0]) if places else None


def found() -> tuple[ctypes.CDLL, Path] | None:
    """The library and the folder of headers; None where they are not installed."""
    library, headers = _folder("cuda_nvrtc"), _folder("cuda_runtime")
    if library is None or headers is None:
        return None
    paths = sorted(library.glob("lib/libnvrtc.so.*"))
    return (ctypes.CDLL(str(paths[0])), headers / "include") if paths else None


def compile_code(code: str, expressions: Sequence[str], options: Sequence[str] = ()) -> str:
    """Compile to PTX; raises RuntimeError with the compiler's messages."""
    both = found()
    assert both is not None
    nvrtc, headers = both
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None)
    for expression in expressions:
        nvrtc.nvrtcAddNameExpression(program, expression.encode())
    given = ["-std=c++17", f"--gpu-architecture={ARCHITECTURE}", f"-I{headers}", *options]
    array = (ctypes.c_char_p * len(given))(*(option.encode() for option in given))
    failed = nvrtc.nvrtcCompileProgram(program, len(given), array)
    what = "ProgramLog" if failed else "PTX"
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, text)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    if failed:
        raise RuntimeError(text.value.decode())
    return text.value.decode()


def elementwise_code(
    kernels: Sequence[ElementwiseKernel], with_cupy: bool = False
) -> tuple[str, int]:
    """The bodies of elementwise kernels for all types they were called with, as CuPy wraps them."""
    parts = [_ALIASES, _CUPY if with_cupy else _PLAIN]
    count = 0
    for kernel in kernels:
        for types in sorted(kernel.used):
            parts.append(_wrapped(kernel, dict(types), count))
            count += 1
    return "\n".join(parts), count


_ALIASES = "typedef long long int64;\ntypedef unsigned long long uint64;\n"
_CUPY = "#include <cupy/float16.cuh>\n#include <cupy/carray.cuh>\n"
_PLAIN = "#include <cuda_fp16.h>\ntypedef half float16;\n"


def cupy_headers() -> Path | None:
    """The folder of CuPy's headers, whose float16 is a class of its own."""
    spec = importlib.util.find_spec("cupy")
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    return Path(places[0]) / "_core" / "include" if places else None


CUPY_HEADERS = cupy_headers()  # read before the double takes the name


def _wrapped(kernel: ElementwiseKernel, types: dict[str, str], number: int) -> str:
    known = {name: CTYPES[char] for name, char in DTYPES.items()} | types
    arguments, names = [], []
    for at, param in enumerate(kernel.inputs + kernel.outputs):
        const = "const " if at < len(kernel.inputs) else ""
        kind, name = known[param[-2]], param[-1]
        raw = param[0] == "raw"
        arguments.append(f"{const}{kind}* {name if raw else name + '_'}")
        if not raw:
            names.append(f"{const}{kind}& {name} = {name}_[i];")
    aliases = " ".join(f"typedef {ctype} {name};" for name, ctype in types.items())
    return (
        f"namespace k{number} {{ {aliases} {kernel.preamble}\n"
        f'extern "C" __global__ void {kernel.name}_{number}(ptrdiff_t n_, {", ".join(arguments)})'
        f" {{ for (ptrdiff_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n_;"
        f" i += blockDim.x * gridDim.x) {{ {' '.join(names)}\n{kernel.operation};\n}} }} }}"
    )
