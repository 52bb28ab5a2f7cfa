"""Copies and conversions: to another dtype, to new memory, or to another device."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import device_of, is_device_name, to_device
from tinybert.ops.arguments import converted


class Cast(Function):
    """The same values in another dtype; dx = dy in the dtype of x."""

    def forward(self, x: Any, *, dtype: Any) -> Any:
        new = np.dtype(dtype)
        if new.kind not in "biufc":
            raise TypeError(f"dtype must be a numeric NumPy dtype, got {new}")
        self.dtype = x.dtype
        return converted(x, new, copy=True)

    def backward(self, dy: Any) -> Any:
        return converted(dy, self.dtype)


def astype(input: Any, dtype: Any) -> Tensor:
    """Return the same values in another dtype; the gradient has that of `input`."""
    return Cast.apply(as_tensor(input), dtype=dtype)


def to_float32(input: Any) -> Tensor:
    """Return the same values in float32."""
    return astype(input, "float32")


class Clone(Function):
    """y = a copy of x in C order. dx = dy."""

    def forward(self, x: Any) -> Any:
        return x.copy(order="C")

    def backward(self, dy: Any) -> Any:
        return dy


def clone(input: Any) -> Tensor:
    """Return a copy that is connected to the graph."""
    return Clone.apply(as_tensor(input))


def contiguous(input: Any) -> Tensor:
    """Return the same values in C order: `input` itself if it is in that order already."""
    x = as_tensor(input)
    return x if x.data.flags.c_contiguous else clone(x)


class ToDevice(Function):
    """The same values on another device; the gradient is moved back."""

    def forward(self, x: Any, *, device: str) -> Any:
        self.device = device_of(x)
        return to_device(x, device)

    def backward(self, dy: Any) -> Any:
        return to_device(dy, self.device)


def to(input: Any, *targets: Any, device: str | None = None, dtype: Any = None) -> Tensor:
    """Return the same values on a device and / or in a dtype; `input` itself if nothing changes.

    `to(x, "cuda")`, `to(x, np.float64)` and `to(x, "cuda", np.float64)` are all allowed; each
    target can also be given by its name.
    """
    x = as_tensor(input)
    for target in targets:
        if isinstance(target, str) and is_device_name(target):
            device = target
        elif target is not None:
            dtype = target
    if dtype is not None and np.dtype(dtype) != x.dtype:
        x = astype(x, dtype)
    return x if device is None else ToDevice.apply(x, device=device)


def to_cpu(input: Any) -> Tensor:
    """Return the same values on the CPU."""
    return to(input, "cpu")


def to_cuda(input: Any) -> Tensor:
    """Return the same values on the first GPU; DeviceError if there is none."""
    return to(input, "cuda")
