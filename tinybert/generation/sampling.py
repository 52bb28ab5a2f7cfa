"""Choosing among scores: the best ones, or some drawn at random. Raw arrays, on any device."""

from __future__ import annotations

from typing import Any

from tinybert.backend import Array, array_module, device_of, to_device


def best(scores: Array, count: int) -> Array:
    """The places (B, count) of the largest of scores (B, N), best first, ties by their place.

    `count` times the largest is quicker than sorting where N is beams times vocabulary.
    """
    xp = array_module(scores)
    left = xp.maximum(scores, xp.finfo(scores.dtype).min)  # -inf is kept for what is taken
    rows = xp.arange(len(scores))
    places = xp.empty((len(scores), count), "int64")
    for i in range(count):
        places[:, i] = left.argmax(axis=-1)
        left[rows, places[:, i]] = -xp.inf
    return places


def draw(scores: Array, count: int, generator: Any) -> Array:
    """Places (B, count) of scores (B, N), drawn with probabilities softmax(scores), none twice.

    Args:
        generator: of the CPU, on every device, so that a seed means the same tokens everywhere.

    Noise of the Gumbel distribution is added, and the largest are taken: the first is a draw from
    the softmax, the second one from what remains, and so on.
    Source   Kool et al. 2019, arXiv:1903.06059, section 3.1 (Gumbel-top-k)
    """
    waiting_times = generator.standard_exponential(scores.shape).clip(min=1e-300)  # log(0) is inf
    xp = array_module(scores)
    return best(scores - xp.log(to_device(waiting_times, device_of(scores))), count)
