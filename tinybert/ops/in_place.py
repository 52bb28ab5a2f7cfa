"""In-place operations; one that would make a recorded graph wrong is refused."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Tensor, to_array
from tinybert.autograd.keywords import torch_keywords
from tinybert.ops.indexing import normal_index


@torch_keywords(other="source", src="source")
def copy_(tensor: Tensor, source: Any) -> Tensor:
    """Overwrite the data with `source`, broadcast to this shape."""
    array = to_array(source, None, tensor.device)
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
    array = tensor._changed("add_")
    array += _operand(other, tensor)
    return tensor


def mul_(tensor: Tensor, other: Any) -> Tensor:
    """Multiply the data by `other`."""
    array = tensor._changed("mul_")
    array *= _operand(other, tensor)
    return tensor


def set_item(tensor: Tensor, index: Any, value: Any) -> None:
    """Overwrite the elements at `index`: tensor[index] = value."""
    positions, _ = normal_index(index, tensor.data)
    tensor._changed("item assignment")[positions] = _operand(value, tensor)


def _operand(value: Any, like: Tensor) -> Any:
    """Return `value` as a number, or as an array on the device of `like`."""
    if isinstance(value, (bool, int, float, complex)):
        return value
    return to_array(value, None, like.device)
