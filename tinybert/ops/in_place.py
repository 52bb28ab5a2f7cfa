"""In-place operations; one that would make a recorded graph wrong is refused."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Tensor, to_array
from tinybert.autograd.keywords import torch_keywords
from tinybert.ops.indexing import normal_index


@torch_keywords(other="source", src="source")
def copy_(tensor: Tensor, source: Any) -> Tensor:
    """Overwrite the data with `source`, broadcast to this shape."""
    array = _fitting("copy_", source, tensor)
    tensor._changed("copy_")[...] = array
    return tensor


def fill_(tensor: Tensor, value: float) -> Tensor:
    """Overwrite every element with `value`."""
    tensor._changed("fill_")[...] = value
    return tensor


def zero_(tensor: Tensor) -> Tensor:
    """Overwrite every element with 0."""
    return fill_(tensor, 0)


def add_(tensor: Tensor, other: Any) -> Tensor:
    """Add `other` to the data."""
    operand = _fitting("add_", other, tensor)
    array = tensor._changed("add_")
    array += operand
    return tensor


def mul_(tensor: Tensor, other: Any) -> Tensor:
    """Multiply the data by `other`."""
    operand = _fitting("mul_", other, tensor)
    array = tensor._changed("mul_")
    array *= operand
    return tensor


def set_item(tensor: Tensor, index: Any, value: Any) -> None:
    """Overwrite the elements at `index`: tensor[index] = value."""
    positions, _ = normal_index(index, tensor.data)
    operand, array = _operand(value, tensor), tensor._changed("item assignment")
    try:
        array[positions] = operand
    except ValueError:
        wanted, given = array[positions].shape, getattr(operand, "shape", ())
        raise ValueError(
            f"item assignment: shape {given} does not broadcast to {wanted}, the shape at the index"
        ) from None


def _operand(value: Any, like: Tensor) -> Any:
    """Return `value` as a number, or as an array on the device of `like`."""
    if isinstance(value, (bool, int, float, complex)):
        return value
    return to_array(value, None, like.device)


def _fitting(name: str, value: Any, like: Tensor) -> Any:
    """Return the operand of `name`; ValueError unless it broadcasts to the shape of `like`."""
    operand = _operand(value, like)
    shape, given = like.shape, getattr(operand, "shape", ())
    tail = shape[len(shape) - len(given) :]
    if len(given) > len(shape) or any(g not in (1, n) for g, n in zip(given, tail, strict=True)):
        raise ValueError(f"{name}: shape {given} does not broadcast to {shape}")
    return operand
