"""Operations on float16 that compute in float32.

float16 has 11 significant bits and its largest number is 65504: squares and sums of moderate values
overflow, and a long sum stops growing. An operation of more than one step therefore runs on float32
copies of its float16 inputs, and its results are rounded once. The copies are conversions in the
graph, so the gradients are computed in float32 as well.
"""

from __future__ import annotations

from typing import Any

from tinybert.autograd.tensor import Tensor, as_tensor
from tinybert.backend import is_array


def in_float32(operation: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return `operation(*inputs, **options)` computed in float32.

    float32 results become float16, unless a floating input has another dtype.
    """
    given = [x if isinstance(x, Tensor) or not is_array(x) else as_tensor(x) for x in inputs]
    floating = [x for x in given if isinstance(x, Tensor) and x.dtype.kind in "fc"]
    wide = [x.astype("float32") if _is_half(x) else x for x in given]
    result = operation(*wide, **options)
    if not all(map(_is_half, floating)):
        return result
    if not isinstance(result, tuple):
        return _narrowed(result)
    return tuple(map(_narrowed, result))


def _is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype.char == "e"


def _narrowed(tensor: Tensor) -> Tensor:
    return tensor.astype("float16") if tensor.dtype.char == "f" else tensor
