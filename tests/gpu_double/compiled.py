"""CUDA C++ compiled for the CPU by g++: the kernels of the package run without a GPU.

What they compute, how they index and where they wait is what is tested; not their speed.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.launches import launched
from tests.strict_array import StrictArray

EMULATOR = (Path(__file__).parent / "emulator.h").read_text("utf-8")
CTYPES = {
    "e": "float16", "f": "float", "d": "double", "q": "int64", "l": "int64", "i": "int",
    "?": "bool", "L": "uint64", "Q": "uint64", "I": "unsigned",
}  # fmt: skip
DTYPES = {"int64": "q", "uint64": "Q", "float32": "f", "float64": "d", "bool": "?", "int32": "i"}
COMPILER = shutil.which("g++")


@cache
def library(code: str) -> ctypes.PyDLL:
    """Compile and load C++ code; compiled code is kept in the folder for temporary files."""
    full = EMULATOR + code
    name = hashlib.sha256(full.encode()).hexdigest()[:20]
    folder = Path(tempfile.gettempdir()) / f"tinybert-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise RuntimeError(f"{folder} is not a folder that you alone can use: delete it")
    path = folder / f"{name}.so"
    if not path.exists():
        source, built = folder / f"{name}-{os.getpid()}.cpp", folder / f"{name}-{os.getpid()}.so"
        source.write_text(full, "utf-8")
        command = [
            COMPILER or "g++",
            "-std=c++17",
            "-O1",
            "-U_FORTIFY_SOURCE",
            "-w",
            "-shared",
            "-fPIC",
        ]
        result = subprocess.run(
            [*command, str(source), "-o", str(built)], capture_output=True, text=True
        )
        source.unlink()
        if result.returncode:
            raise RuntimeError(result.stderr[:4000])
        built.replace(path)
    return ctypes.PyDLL(str(path))  # its index of the thread is global: one call at a time


class RawModule:
    """A `.cu` file with all its instances; every argument of a kernel is 8 bytes."""

    def __init__(self, code: str, options: tuple[str, ...], name_expressions: list[str]) -> None:
        code = re.sub(r"#include <cuda\w*.h>", "", code)
        exported = [
            f'extern "C" int kernel{number}(unsigned blocks, unsigned threads, char* arguments) '
            f"{{ return Launch<&{name}>::run(blocks, threads, arguments); }}\n"
            f'extern "C" {{ const char* kinds{number} = Launch<&{name}>::kinds; }}'
            for number, name in enumerate(name_expressions)
        ]
        self.names = name_expressions
        self.code = "\n".join([code, *exported])

    def get_function(self, name: str) -> Any:
        number = self.names.index(name)

        def launch(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            found = library(self.code)
            kinds = ctypes.c_char_p.in_dll(found, f"kinds{number}").value or b""
            if len(kinds) != len(arguments):
                raise TypeError(f"{name} takes {len(kinds)} arguments, got {len(arguments)}")
            pairs = zip(kinds.decode(), arguments, strict=True)
            packed = b"".join(_packed(name, kind, argument) for kind, argument in pairs)
            if getattr(found, f"kernel{number}")(grid[0], block[0], packed):
                raise RuntimeError(f"{name}: threads of a block do not reach the same barriers")
            launched(name.partition("<")[0])

        return launch


def _packed(name: str, kind: str, argument: Any) -> bytes:
    """The 8 bytes of an argument, after a check that a kernel's own types do not get on a GPU."""
    given = type(argument)
    if kind == "I" and given in (int, bool):
        return np.int64(argument).tobytes()
    if kind == "D" and given is float:
        return np.float64(argument).tobytes()
    if given is StrictArray and (kind == "*" or kind == _KINDS.get(argument.dtype.char)):
        return np.int64(argument.data.ptr).tobytes()
    what = f"an array of {argument.dtype}" if given is StrictArray else repr(argument)
    raise TypeError(f"{name}: an argument of kind {kind!r} was given {what}")


_KINDS = {"e": "e", "f": "f", "d": "d", "q": "q", "l": "q"}


kernels: list[ElementwiseKernel] = []  # all that were made


class ElementwiseKernel:
    """CuPy's `ElementwiseKernel`, with its rules for dtypes, shapes and `size`."""

    def __init__(
        self, in_params: str, out_params: str, operation: str, name: str, preamble: str = ""
    ) -> None:
        self.inputs = [p.split() for p in in_params.split(",")]
        self.outputs = [p.split() for p in out_params.split(",")]
        self.operation, self.name, self.preamble = operation, name, preamble
        self.used: set[tuple[tuple[str, str], ...]] = set()  # the types of the calls so far
        kernels.append(self)

    def __call__(self, *arguments: Any, size: int | None = None) -> Any:
        params = self.inputs + self.outputs
        given = [*arguments, *[None] * (len(params) - len(arguments))]
        arrays = [(p, a) for p, a in zip(params, given, strict=True) if isinstance(a, StrictArray)]
        looped = [a.shape for p, a in arrays if p[0] != "raw"]
        if size is not None and looped:
            raise ValueError("size can be used only if all arrays are raw")
        if size is None and not looped:
            raise ValueError("Loop size is undecided.")
        shape = (size,) if size is not None else np.broadcast_shapes(*looped)
        types = self._types(params, arrays)
        values: list[Any] = []  # kept alive, as C-contiguous NumPy arrays
        for param, value in zip(self.inputs, given[: len(self.inputs)], strict=True):
            values.append(self._input(param, value, shape, types))
        results, written = [], []
        for param, value in zip(self.outputs, given[len(self.inputs) :], strict=True):
            if value is None:
                if param[0] == "raw":
                    raise ValueError("Output array size is Undecided")
                value = StrictArray(np.empty(shape, types[param[-2]]))
            elif param[0] != "raw" and value.shape != shape:
                raise ValueError(f"Out shape is mismatched: {value.shape}, {shape}")
            values.append(np.ascontiguousarray(value._array))
            written.append((value._array, values[-1]))
            results.append(value)
        count = int(np.prod(shape))
        if count:
            launched(self.name)
            strides = [int(a.size > 1 or count == 1) for a in values]
            self._run(types, count, values, strides)
            for target, value in written:
                if target is not value:
                    target[...] = value.reshape(target.shape)
        return results[0] if len(results) == 1 else tuple(results)

    def _types(self, params: list[list[str]], arrays: list[Any]) -> dict[str, np.dtype]:
        types = {name: np.dtype(char) for name, char in DTYPES.items()}
        for param, array in arrays:
            name = param[-2]
            if types.setdefault(name, array.dtype) != array.dtype:
                raise TypeError(
                    f"Type is mismatched. {param[-1]} {array.dtype} {types[name]} in {self.name}"
                )
        return types

    def _input(
        self, param: list[str], value: Any, shape: tuple[int, ...], types: dict[str, np.dtype]
    ) -> np.ndarray:
        if not isinstance(value, StrictArray):
            if not isinstance(value, (int, float, np.generic)):
                raise TypeError(f"Unsupported type {type(value)}")
            return np.full(1, value, types[param[-2]])
        array = value._array
        if param[0] != "raw" and array.size != 1:
            array = np.broadcast_to(array, shape)
        return np.ascontiguousarray(array)

    def _run(
        self, types: dict[str, np.dtype], count: int, values: list[Any], strides: list[int]
    ) -> None:
        own = [(t, CTYPES[types[t].char]) for t in types if t not in DTYPES]
        self.used.add(tuple(own))
        lines = [f"typedef {ctype} {t};" for t, ctype in own]
        head, body = [], []
        for at, param in enumerate(self.inputs + self.outputs):
            const = "" if at >= len(self.inputs) else "const "
            kind, name = CTYPES.get(types[param[-2]].char, "?"), param[-1]
            pointer = name if param[0] == "raw" else f"{name}_"
            head.append(f"{const}{kind}* {pointer} = ({const}{kind}*)p[{at}];")
            if param[0] != "raw":
                body.append(f"{const}{kind}& {name} = {name}_[i * strides[{at}]];")
        code = "\n".join([
            *lines, self.preamble,
            'extern "C" void run(int64 n_, void** p, const int64* strides) {', *head,
            "for (ptrdiff_t i = 0; i < n_; ++i) {", *body, f"{self.operation};", "}", "}",
        ])  # fmt: skip
        addresses = np.array([value.ctypes.data for value in values], np.int64)
        library(code).run(
            ctypes.c_longlong(count), ctypes.c_void_p(addresses.ctypes.data),
            ctypes.c_void_p(np.array(strides, np.int64).ctypes.data),
        )  # fmt: skip
