"""Keys of random numbers that are passed, as in JAX: the same key gives the same numbers.

They have the interface of `jax.random`, not its numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Tensor
from tinybert.checks import is_integer


def PRNGKey(seed: int) -> np.ndarray:
    """Return the key of a seed from 0 to 2**64 - 1: (2,) uint32."""
    if not is_integer(seed) or not 0 <= seed < 2**64:
        raise ValueError(f"seed must be an integer from 0 to 2**64 - 1, got {seed!r}")
    return np.array([int(seed) >> 32, int(seed) & 0xFFFFFFFF], np.uint32)


def split(key: Any, num: int = 2) -> np.ndarray:
    """Return `num` keys, (num, 2), made of one, whose numbers are independent."""
    return np.random.SeedSequence(seed_of(key)).generate_state(2 * num).reshape(num, 2)


def fold_in(key: Any, data: int) -> np.ndarray:
    """Return a key made of a key and a number, such as that of a step."""
    # The last 1 sets it apart from split: a SeedSequence does not count zeros at its end.
    return np.random.SeedSequence((*seed_of(key), int(data), 1)).generate_state(2)


def seed_of(key: Any, name: str = "key") -> tuple[int, ...]:
    """Return a key, or that of a seed, as the integers that seed a generator.

    Raises TypeError for anything but integers, naming the argument.
    """
    values = np.atleast_1d(key.numpy() if isinstance(key, Tensor) else np.asarray(key))
    if values.dtype.kind not in "iu" or values.ndim != 1 or not values.size or (values < 0).any():
        raise TypeError(f"{name} must be a seed or a key, such as PRNGKey(0), got {key!r:.60}")
    return tuple(int(value) for value in (PRNGKey(values[0]) if values.size == 1 else values))
