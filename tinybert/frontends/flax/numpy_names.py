"""The functions and dtypes of `jax.numpy` that the documents' examples need, on Tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import float16, float32, int32

from tinybert.autograd import Tensor, as_tensor
from tinybert.functional import concat, stack, where

__all__ = [
    "arange",
    "argmax",
    "array",
    "asarray",
    "concatenate",
    "float16",
    "float32",
    "int32",
    "mean",
    "ones",
    "stack",
    "sum",
    "where",
    "zeros",
]

concatenate = concat


def array(object: Any, dtype: Any = None) -> Tensor:
    """Return a new Tensor."""
    return Tensor(object, dtype=dtype)


def asarray(a: Any, dtype: Any = None) -> Tensor:
    """Return a Tensor of the same memory if it has the dtype already."""
    tensor = as_tensor(a)
    return tensor if dtype is None or tensor.dtype == dtype else tensor.to(dtype)


def arange(*bounds: Any, dtype: Any = None) -> Tensor:
    """Return the numbers from a start, 0 by default, up to a stop, in steps."""
    return as_tensor(np.arange(*bounds, dtype=dtype))


def zeros(shape: Any, dtype: Any = float32) -> Tensor:
    """Return zeros."""
    return as_tensor(np.zeros(shape, dtype))


def ones(shape: Any, dtype: Any = float32) -> Tensor:
    """Return ones."""
    return as_tensor(np.ones(shape, dtype))


def argmax(a: Any, axis: int | None = None) -> Tensor:
    """Return the index of the largest element along an axis, or of all."""
    return as_tensor(a).argmax(axis)


def mean(a: Any, axis: Any = None) -> Tensor:
    """Return the mean along axes."""
    return as_tensor(a).mean(axis)


def sum(a: Any, axis: Any = None) -> Tensor:
    """Return the sum along axes."""
    return as_tensor(a).sum(axis)
