"""A Tensor as other Python objects: numbers, lists, text and NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinybert.autograd.modes import get_default_dtype
from tinybert.autograd.tensor import Tensor


def item(tensor: Tensor) -> Any:
    """Return the single element as a Python number; ValueError if there is not exactly one."""
    if tensor.size != 1:
        raise ValueError(
            f"item() needs a tensor with one element, this one has shape {tensor.shape}"
        )
    return tensor.numpy().item()


def tolist(tensor: Tensor) -> Any:
    """Return nested Python lists of numbers."""
    return tensor.numpy().tolist()


def to_numpy_array(tensor: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """Return the data as a NumPy array; TypeError for a tensor on another device."""
    if tensor.device != "cpu":
        raise TypeError(
            f"a tensor on {tensor.device} is not converted to a NumPy array implicitly; "
            "use tensor.numpy()"
        )
    return (
        np.array(tensor.data, dtype=dtype, copy=copy)
        if copy
        else np.asarray(tensor.data, dtype=dtype)
    )


def length(tensor: Tensor) -> int:
    """Return the size of the first axis."""
    if not tensor.shape:
        raise TypeError("len() of a 0-d tensor, which has no axes")
    return tensor.shape[0]


def iterate(tensor: Tensor) -> Iterator[Tensor]:
    """Return the elements along the first axis, one after the other."""
    return (tensor[i] for i in range(len(tensor)))


def to_float(tensor: Tensor) -> float:
    """Return the single element as a float."""
    return float(tensor.item())


def to_int(tensor: Tensor) -> int:
    """Return the single element as an int."""
    return int(tensor.item())


def to_index(tensor: Tensor) -> int:
    """Return the single integer as an index."""
    if tensor.dtype.kind not in "iu":
        raise TypeError(f"only an integer tensor can be an index, this one is {tensor.dtype}")
    return int(tensor.item())


def to_bool(tensor: Tensor) -> bool:
    """Return the truth of the single element."""
    if tensor.size != 1:
        raise ValueError(
            f"the truth of a tensor of shape {tensor.shape} is not clear; "
            "use (t != 0).numpy().any() or .all()"
        )
    return bool(tensor.item())


def to_text(tensor: Tensor) -> str:
    """Return the text that `repr` shows: data, and what else is not the default."""
    body = np.array2string(
        tensor.numpy(), precision=4, threshold=50, separator=", ", prefix="Tensor("
    )
    notes = [f"dtype={tensor.dtype}"] if tensor.dtype != get_default_dtype() else []
    notes += [f"device={tensor.device!r}"] if tensor.device != "cpu" else []
    if tensor.grad_fn is not None:
        notes.append(f"grad_fn={type(tensor.grad_fn).__name__}")
    elif tensor.requires_grad:
        notes.append("requires_grad=True")
    return f"{type(tensor).__name__}({', '.join([body, *notes])})"


def formatted(tensor: Tensor, spec: str) -> str:
    """Return a single element in a format, f"{loss:.3f}"; without a format any tensor."""
    return format(tensor.item(), spec) if spec else str(tensor)
