"""Read the arguments of a call: arrays, lists and Tensors become Tensors of a checked shape.

Every error names the argument, what is allowed and what was given.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, as_tensor


def choose(given: bool | None, default: bool) -> bool:
    """Return the value given in the call, or the config's default if it is None."""
    return default if given is None else given


@functools.cache
def argument_names(forward: Callable[..., Any]) -> dict[str, None] | None:
    """Return the names of all arguments of a `forward`, in order; None if it takes any name."""
    _, *parameters = inspect.signature(forward).parameters.values()  # without self
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name: None for p in parameters}


def tensor_of(name: str, value: Any, device: str) -> Tensor:
    """Return an argument as a Tensor; anything but an array of numbers is an error."""
    try:
        return as_tensor(value, device)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def integers(name: str, value: Any, device: str) -> Tensor:
    """Return ids as an integer Tensor; a floating array of whole numbers is accepted."""
    tensor = tensor_of(name, value, device)
    return tensor if tensor.dtype.kind in "iu" else _whole_numbers(name, tensor)


def _whole_numbers(name: str, tensor: Tensor) -> Tensor:
    if tensor.dtype.kind in "bf":
        given = tensor.data.astype("float64")
        if bool((abs(given) < 2.0**53).all()):  # not NaN, and int64 holds it exactly
            whole = given.astype("int64")
            if bool((whole == given).all()):
                return as_tensor(whole)
    raise TypeError(f"{name} must be integers, got {tensor.dtype}")


def read_ids(name: str, value: Any, batch: int, length: int, device: str) -> Tensor | None:
    """Return token types or positions (B, T), or (1, T) for all rows alike; None if not given."""
    if value is None:
        return None
    ids = integers(name, value, device)
    if ids.shape not in ((batch, length), (1, length)):
        raise ValueError(f"{name} must have shape ({batch}, {length}), got {ids.shape}")
    return ids


def read_tokens(
    input_ids: Any, inputs_embeds: Any, hidden_size: int, device: str, dtype: np.dtype
) -> tuple[str, Tensor]:
    """Return the argument that was given and its Tensor: ids (B, T) or embeddings (B, T, D).

    Raises ValueError if both or neither are given, for other shapes, and for empty sequences.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise ValueError("give either input_ids or inputs_embeds")
    if inputs_embeds is None:
        name, tokens = "input_ids", integers("input_ids", input_ids, device)
        check_shape(name, tokens, ("B", "T"))
    else:
        name = "inputs_embeds"
        tokens = tensor_of(name, inputs_embeds, device).to(dtype)
        check_shape(name, tokens, ("B", "T", hidden_size))
    if tokens.shape[1] == 0:
        raise ValueError(f"{name} is empty: a sequence needs at least one token")
    return name, tokens


def check_shape(name: str, tensor: Tensor, expected: tuple[Any, ...]) -> None:
    """Raise unless `tensor` has the axes `expected`; a letter in it stands for any size."""
    fits = tensor.ndim == len(expected) and all(
        isinstance(want, str) or size == want
        for size, want in zip(tensor.shape, expected, strict=True)
    )
    if not fits:
        shape = ", ".join(str(size) for size in expected)
        raise ValueError(f"{name} must have shape ({shape}), got {tensor.shape}")
