"""Which library holds an array, and how arrays are moved between the host and a device.

The array decides: `array_module(x)` is `numpy` for a NumPy array and `cupy` for a CuPy array, so
code above this package is written once against `xp`. Nothing outside `backend/` imports CuPy, and
CuPy is imported only when a GPU is requested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinybert.backend import cpu

Array = Any  # numpy.ndarray, cupy.ndarray, or the strict double that the tests register


class DeviceError(RuntimeError):
    """A device was requested that this machine or this installation does not have."""


def _one_by_one(work: Callable[[Any], None], items: Sequence[Any]) -> None:
    for item in items:
        work(item)


@dataclass(frozen=True)
class Backend:
    """One array library.

    Attributes:
        name: of its devices, as in `device="cuda:0"`. xp: its module. array_type: of its arrays.
        new_generator: from a seed to a random generator.
        from_host, to_host: the only functions that move arrays between host and device.
        index_of: from an array to the number of the device that holds it.
        for_each: call a function on every item of a list, in parallel where that is faster.
        kernels: for the name of a formula the function that replaces it; see kernels.py.
    """

    name: str
    xp: Any
    array_type: type
    new_generator: Callable[[Any], Any]
    from_host: Callable[[np.ndarray, int], Array]
    to_host: Callable[[Array], np.ndarray]
    index_of: Callable[[Array], int]
    for_each: Callable[[Callable[[Any], None], Sequence[Any]], None] = _one_by_one
    kernels: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


CPU = Backend(
    name="cpu",
    xp=np,
    array_type=np.ndarray,
    new_generator=cpu.new_generator,
    from_host=lambda array, index: array,
    to_host=lambda array: array,
    index_of=lambda array: 0,
    for_each=cpu.for_each,
)
_backends: dict[str, Backend] = {"cpu": CPU}
_array_types: tuple[type, ...] = (np.ndarray,)


def register_backend(backend: Backend) -> None:
    """Make `device=backend.name` known. CuPy is registered when it is first requested; the tests
    register a stand-in for it.
    """
    global _array_types
    _backends[backend.name] = backend
    _array_types = tuple(known.array_type for known in _backends.values())


def backend_of(array: Array) -> Backend:
    """Return the backend of `array`. Raises TypeError for a value that is not an array.

    A NumPy scalar counts as an array: NumPy computes scalars from arrays without axes.
    """
    if isinstance(array, (np.ndarray, np.generic)):
        return CPU
    for backend in _backends.values():
        if isinstance(array, backend.array_type):
            return backend
    raise TypeError(f"expected an array of {', '.join(_backends)}, got {type(array).__name__}")


def array_module(array: Array) -> Any:
    """Return `numpy` or `cupy`, whichever holds `array`; by convention called `xp`."""
    return backend_of(array).xp


def is_array(value: Any) -> bool:
    """Return whether `value` is an array of a known backend."""
    return isinstance(value, _array_types)


def is_mixed(values: list[Any]) -> bool:
    """Return whether there are arrays of different backends among `values`."""
    if len(_backends) == 1:
        return False
    return len({backend_of(value).name for value in values if is_array(value)}) > 1


def is_device_name(text: str) -> bool:
    """Return whether `text` names a device, such as "cpu" or "cuda:0", rather than a dtype."""
    return text.partition(":")[0] in (*_backends, "cuda")


def parse_device(device: str) -> tuple[Backend, int]:
    """Read `"cpu"`, `"cuda"` or `"cuda:0"`; raises `ValueError` for other names, `DeviceError`
    without a usable GPU and for a GPU after the first.
    """
    name, colon, number = str(device).partition(":")
    if (colon and not number.isdecimal()) or (name == "cpu" and number not in ("", "0")):
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:<number>', got {device!r}")
    index = int(number or 0)
    if name in _backends and name != "cuda":
        return _backends[name], index
    if name != "cuda":
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:<number>', got {device!r}")
    cuda = _load_cuda()
    if index:
        raise DeviceError(
            f"device {device!r}: a process uses one GPU, its first; choose which one that is by "
            f"the environment variable CUDA_VISIBLE_DEVICES={index}, and use device 'cuda'"
        )
    return cuda, index


def cuda_is_available() -> bool:
    """Return whether `device="cuda"` works: CuPy is installed and finds a GPU."""
    try:
        _load_cuda()
    except DeviceError:
        return False
    return True


def device_of(array: Array) -> str:
    """Return the device of `array`: "cpu", "cuda:0", and so on."""
    backend = backend_of(array)
    return "cpu" if backend is CPU else f"{backend.name}:{backend.index_of(array)}"


def to_device(array: Array, device: str) -> Array:
    """Return `array` on `device`: the same object if it is there already. No other function moves
    arrays between devices.
    """
    if device == "cpu" and isinstance(array, np.ndarray):
        return array
    backend, index = parse_device(device)
    source = backend_of(array)
    if source is backend and source.index_of(array) == index:
        return array
    return backend.from_host(source.to_host(array), index)


def to_host(array: Array) -> np.ndarray:
    """Return `array` as a NumPy array; a NumPy array is returned unchanged."""
    return backend_of(array).to_host(array)


def _load_cuda() -> Backend:
    """Return the CuPy backend; DeviceError unless a GPU computes what it is asked."""
    if "cuda" in _backends:
        return _backends["cuda"]
    try:
        from tinybert.backend import cuda
    except ImportError as error:
        raise DeviceError(
            'device "cuda" needs CuPy, which is not installed: pip install "tinybert[cuda12]" '
            '(or "tinybert[cuda13]" for CUDA 13)'
        ) from error
    try:
        register_backend(replace(Backend(*cuda.tried_library()), kernels=cuda.KERNELS))
    except Exception as error:  # of CuPy, the driver or the compiler, whose types CuPy hides
        raise DeviceError(f'device "cuda": CuPy finds no usable GPU ({error})') from error
    return _backends["cuda"]
