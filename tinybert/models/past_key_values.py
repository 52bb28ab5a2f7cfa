"""Read what only decoders take: `past_key_values`, the cache of an earlier call, and the states of
an encoder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinybert.autograd import Tensor
from tinybert.models.arguments import check_shape, tensor_of
from tinybert.nn import KeyValueCache


@dataclass
class CacheShape:
    """The sizes that a model expects of a cache.

    Attributes:
        batch: B.
        heads: the number of key and value heads of each layer.
        size: K, the head size.
        cross_heads: the number of heads of cross-attention; 0 without cross-attention.
    """

    batch: int
    heads: list[int]
    size: int
    cross_heads: int = 0


def read_cache(
    given: Any, use_cache: bool, shape: CacheShape, device: str, dtype: np.dtype
) -> KeyValueCache | None:
    """Return the cache that the layers of one call read and append to; None if there is none.

    Args:
        given: `past_key_values`: a KeyValueCache; or for each layer a tuple of keys and values,
            arrays of any kind, where None is skipped; or None.
        use_cache: whether the new keys and values are kept. If not, `given` is not changed.

    Raises ValueError for another number of layers or of arrays in a layer and for wrong shapes, and
    TypeError for other objects. `LayerCache.append` refuses another dtype or device.
    """
    if given is None:
        return KeyValueCache(len(shape.heads), in_place=False) if use_cache else None
    layers = [
        [tensor_of("past_key_values", x, device).to(dtype) for x in layer if x is not None]
        for layer in layers_of(given, "a KeyValueCache, or a pair (keys, values) of arrays")
    ]
    _check(given, layers, shape)
    if use_cache and isinstance(given, KeyValueCache):
        return given
    return KeyValueCache.from_legacy(layers, in_place=False)


def read_encoder_states(model: Any, given: Any, batch: int) -> Tensor | None:
    """Return (B, S, D) for the cross-attention of a decoder; None in an encoder."""
    if not model.is_decoder:
        return None
    if not model.config.add_cross_attention:
        raise ValueError(
            "encoder_hidden_states needs cross-attention: set add_cross_attention=True"
        )
    states = tensor_of("encoder_hidden_states", given, model.device).to(model.dtype)
    check_shape("encoder_hidden_states", states, (batch, "S", model.config.hidden_size))
    return states


def layers_of(given: Any, allowed: str) -> list[list[Any]]:
    """Return `past_key_values` as a list of arrays for each layer.

    Raises TypeError, naming what is `allowed`, if it is not a nested sequence.
    """
    layers = list(given) if isinstance(given, Iterable) else None
    wrong = [] if layers is None else [x for x in layers if not isinstance(x, Iterable)]
    if layers is None or wrong:
        inside = f" of {type(wrong[0]).__name__}" if wrong else ""
        raise TypeError(
            f"past_key_values must be {allowed} for each layer, got {type(given).__name__}{inside}"
        )
    return [list(layer) for layer in layers]


def _check(given: Any, layers: list[list[Tensor]], shape: CacheShape) -> None:
    counts = [len(layer) for layer in layers]
    if isinstance(given, KeyValueCache) and counts == [0] * len(shape.heads):
        return
    cross = bool(shape.cross_heads)
    if len(counts) != len(shape.heads) or any(n != 2 and not (cross and n == 4) for n in counts):
        four = ", or four with those of the encoder's tokens," if cross else ""
        raise ValueError(
            f"past_key_values must be a KeyValueCache or a pair (keys, values){four} for each of "
            f"{len(shape.heads)} layers, got {counts} members in {type(given).__name__}"
        )
    length: Any = "length"
    for layer, heads in zip(layers, shape.heads, strict=True):
        for part in layer[:2]:
            check_shape("past_key_values", part, (shape.batch, heads, length, shape.size))
            length = part.shape[2]  # of the first, and so of all
        for part in layer[2:]:
            check_shape("past_key_values", part, (shape.batch, shape.cross_heads, "S", shape.size))
