"""Select tokens by their scores: the top k, or random samples. Raw arrays, on any device."""

from __future__ import annotations

from typing import Any

from tinybert.backend import Array, array_module, device_of, to_device


def top_indices(scores: Array, count: int) -> Array:
    """Return the indices (B, count) of the largest of scores (B, N), best first.

    Equal scores keep the order of their indices. `count` passes of argmax are faster than sorting
    where N is beams times vocabulary.
    """
    xp = array_module(scores)
    remaining = xp.maximum(scores, xp.finfo(scores.dtype).min)  # -inf marks what was selected
    rows = xp.arange(len(scores))
    indices = xp.empty((len(scores), count), "int64")
    for i in range(count):
        indices[:, i] = remaining.argmax(axis=-1)
        remaining[rows, indices[:, i]] = -xp.inf
    return indices


def sample(scores: Array, count: int, generator: Any) -> Array:
    """Sample `count` indices for each row of scores (B, N) from softmax(scores), without
    replacement. Returns (B, count).

    Args:
        generator: a random generator of the CPU, also for scores on a GPU: a seed gives the same
            tokens on every device.

    Adds Gumbel noise to the scores and takes the largest: the first is a sample from the softmax,
    the second a sample from the remaining tokens, and so on.
    Source   Kool et al. 2019, arXiv:1903.06059, section 3.1 (Gumbel-top-k)
    """
    exponential = generator.standard_exponential(scores.shape).clip(min=1e-300)  # log(0) is -inf
    xp = array_module(scores)
    # -log of an exponential variable has the Gumbel distribution.
    return top_indices(scores - xp.log(to_device(exponential, device_of(scores))), count)
