"""The functions of `tf.math` that the documents' examples use."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Tensor, as_tensor


def argmax(input: Any, axis: int | None = 0) -> Tensor:
    """Return the index of the largest value along an axis, the first one by default."""
    return as_tensor(input).argmax(0 if axis is None else axis)


def reduce_mean(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return the mean over an axis, or over all."""
    return as_tensor(input_tensor).mean(axis=axis, keepdims=keepdims)
