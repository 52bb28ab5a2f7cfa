"""Initial weights. They are drawn on the CPU: a seed gives the same model on every device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinybert.autograd import Tensor, get_default_device, get_default_dtype
from tinybert.backend import Array, generator, to_device

_skip = 0.0  # the number of weights in the file that layers are read from; 0 if they are drawn
_hollow = False


@contextmanager
def skip_init(stored: float = math.inf) -> Iterator[None]:
    """Leave the weights of new layers unset inside the block: they will be read from a file, which
    holds `stored` weights.
    """
    global _skip
    before, _skip = _skip, max(stored, 1)
    try:
        yield
    finally:
        _skip = before


@contextmanager
def hollow_init(stored: float = math.inf) -> Iterator[None]:
    """Give new layers weights that take no memory inside the block: all elements share one number.

    They have the right shape and will be replaced. Values written to them are lost.
    """
    global _hollow
    before, _hollow = _hollow, True
    try:
        with skip_init(stored):
            yield
    finally:
        _hollow = before


def stored_weights() -> float:
    """Return `stored` inside `skip_init`, and 0 outside, where weights are drawn."""
    return _skip


def uniform(shape: tuple[int, ...], bound: float) -> Array:
    """Return uniform numbers from -bound to bound, in the default dtype, on the default device."""
    return _fresh(shape, lambda rng: (rng.random(shape, dtype=np.float32) * 2 - 1) * bound)


def normal(shape: tuple[int, ...], std: float) -> Array:
    """Return normal numbers with mean 0, in the default dtype, on the default device."""
    return _fresh(shape, lambda rng: rng.standard_normal(shape, dtype=np.float32) * std)


def full(shape: tuple[int, ...], value: float) -> Array:
    """Return an array filled with `value`, in the default dtype, on the default device."""
    return _fresh(shape, lambda rng: np.full(shape, value))


def normal_(tensor: Tensor, std: float, mean: Any = 0.0) -> None:
    """Overwrite `tensor` with normal numbers; inside `skip_init` leave it as it is.

    mean: a number, or a NumPy array that broadcasts to the shape.
    """
    if _skip:
        return
    drawn = generator("cpu").standard_normal(tensor.shape, dtype=np.float32) * std + mean
    tensor.data[...] = to_device(drawn.astype(tensor.dtype), tensor.device)


def fill_(tensor: Tensor, value: float, index: Any = ...) -> None:
    """Overwrite `tensor[index]` with a number; inside `skip_init` leave it as it is."""
    if not _skip:
        tensor.data[index] = value
        tensor._version.bump("fill_")


def linear_bound(in_features: int) -> float:
    """Return 1 / sqrt(in_features), torch's default bound for a linear layer's weight and bias."""
    return 1 / math.sqrt(in_features) if in_features else 0.0


def _fresh(shape: tuple[int, ...], draw: object) -> Array:
    dtype = get_default_dtype()
    if _hollow:
        return as_strided(np.zeros((), dtype), shape, (0,) * len(shape))
    array = np.empty(shape, dtype) if _skip else draw(generator("cpu")).astype(dtype)  # type: ignore[operator]
    return to_device(array, get_default_device())
