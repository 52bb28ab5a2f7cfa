"""How models read what they are called with: arrays of any kind become Tensors of a known shape."""

from __future__ import annotations

import warnings
from typing import Any

from tinybert.autograd import Tensor, as_tensor


def choose(given: bool | None, default: bool) -> bool:
    """An option of a call: what was given, or the config's value."""
    return default if given is None else given


def tensor_of(name: str, value: Any, device: str) -> Tensor:
    """An argument as a Tensor; what is no array of numbers is refused under the argument's name."""
    try:
        return as_tensor(value, device)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def integers(name: str, value: Any, device: str) -> Tensor:
    """Ids as an integer Tensor; floating arrays that hold whole numbers are accepted."""
    tensor = tensor_of(name, value, device)
    if tensor.dtype.kind in "iu":
        return tensor
    if tensor.dtype.kind in "bf":
        given = tensor.data.astype("float64")
        if bool((abs(given) < 2.0**53).all()):  # not NaN, and nothing that overflows below
            whole = given.astype("int64")
            if bool((whole == given).all()):
                return as_tensor(whole)
    raise TypeError(f"{name} must be whole numbers, got {tensor.dtype}")


def ids_like(name: str, value: Any, batch: int, length: int, device: str) -> Tensor | None:
    """Token types or positions (B, T), where one row may stand for all."""
    if value is None:
        return None
    ids = integers(name, value, device)
    if ids.shape not in ((batch, length), (1, length)):
        raise ValueError(f"{name} must have shape ({batch}, {length}), got {ids.shape}")
    return ids


def check_shape(name: str, tensor: Tensor, expected: tuple[Any, ...]) -> None:
    """Raise unless `tensor` has the axes `expected`: letters for any size, numbers for that one."""
    fits = tensor.ndim == len(expected) and all(
        isinstance(want, str) or size == want
        for size, want in zip(tensor.shape, expected, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(size) for size in expected)
        raise ValueError(f"{name} must have shape ({wanted}), got {tensor.shape}")


def read_tokens(
    input_ids: Any, inputs_embeds: Any, hidden_size: int, like: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Ids (B, T), or word embeddings (B, T, D) in their place; on the device of `like`.

    Raises ValueError if both or neither are given, for other shapes, and for no tokens at all.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise ValueError("give input_ids or inputs_embeds, one and not both")
    if inputs_embeds is not None:
        name = "inputs_embeds"
        tokens = tensor_of(name, inputs_embeds, like.device).to(like.dtype)
        check_shape(name, tokens, ("B", "T", hidden_size))
    else:
        name, tokens = "input_ids", integers("input_ids", input_ids, like.device)
        check_shape(name, tokens, ("B", "T"))
    if tokens.shape[1] == 0:
        raise ValueError(f"{name} has no tokens; a sequence needs at least one")
    return (tokens, None) if inputs_embeds is None else (None, tokens)


def check_length(name: str, length: int, past: int, limit: int) -> None:
    """Raise unless the sequence in `name`, with the cache, fits the table of positions."""
    if past + length > limit:
        cached = f" after {past} in the cache" if past else ""
        raise ValueError(
            f"{name} has {length} tokens{cached}, but max_position_embeddings is {limit}; "
            f"tokenize with truncation=True, max_length={limit}"
        )


def warn_of_token_types(attention_mask: Any, input_ids: Tensor, pad_token_id: int | None) -> None:
    """Warn of a mask that hides the first token of every text: it is likely `token_type_ids`, given
    as the second positional argument. Padding on the left leaves at least one text unhidden.
    """
    mask = tensor_of("attention_mask", attention_mask, input_ids.device).data
    if mask.shape != input_ids.shape:
        return
    if bool(((mask[:, 0] == 0) & (input_ids.data[:, 0] != pad_token_id)).all()):
        warnings.warn(
            "attention_mask hides the first token of every text; if it holds token_type_ids, give "
            "them by name: model(input_ids, token_type_ids=...)",
            stacklevel=4,
        )
