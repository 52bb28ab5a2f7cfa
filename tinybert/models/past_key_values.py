"""How decoders read `past_key_values`, and what they give back: of the kind that was given."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tinybert.autograd import Tensor
from tinybert.models.inputs import check_shape, tensor_of
from tinybert.nn import KeyValueCache


@dataclass
class CacheShape:
    """What a model expects of a cache.

    Attributes:
        batch: B.
        heads: of keys and values, for each layer.
        size: K, the size of a head.
        cross_heads: of the keys and values of an encoder's tokens; 0 without cross-attention.
    """

    batch: int
    heads: list[int]
    size: int
    cross_heads: int = 0


def read_cache(
    given: Any, use_cache: bool, shape: CacheShape, like: Tensor
) -> KeyValueCache | None:
    """The cache that the layers of one call read and add to: the given one, or one of its own.

    Args:
        given: `past_key_values`: a KeyValueCache, or for each layer its members, arrays of any kind
            and Nones, which are left out; or None.
        use_cache: whether what is new shall be kept. Without, nothing that was given is changed.
        like: has the device and the dtype.

    Raises ValueError for another number of layers or of members, and for wrong shapes; TypeError
    for objects of other kinds. (A cache of another dtype or device is refused by its `append`.)
    """
    if given is None:
        return KeyValueCache(len(shape.heads), in_place=False) if use_cache else None
    layers = [
        [
            tensor_of("past_key_values", part, like.device).to(like.dtype)
            for part in layer
            if part is not None
        ]
        for layer in members_of(given, "a KeyValueCache, or a pair (keys, values) of arrays")
    ]
    is_cache = isinstance(given, KeyValueCache)
    _check(given, layers, shape)
    return given if is_cache and use_cache else KeyValueCache.from_legacy(layers, in_place=False)


def members_of(given: Any, wanted: str) -> list[list[Any]]:
    """The members of each layer of `past_key_values`. TypeError, with what is `wanted`, if it is
    nothing that has layers, or they are nothing that has members.
    """
    layers = list(given) if isinstance(given, Iterable) else None
    wrong = [] if layers is None else [part for part in layers if not isinstance(part, Iterable)]
    if layers is None or wrong:
        within = f" with {type(wrong[0]).__name__} in it" if wrong else ""
        raise TypeError(
            f"past_key_values must be {wanted} for each layer, got {type(given).__name__}{within}"
        )
    return [list(layer) for layer in layers]


def returned_cache(cache: KeyValueCache | None, given: Any) -> Any:
    """`past_key_values` of the output: the cache that was given, or else a tuple of tuples."""
    return cache if cache is given else tuple(cache or ())


def keeps_cache(wanted: bool, computes_again: bool) -> bool:
    """Whether keys and values are kept; not, with a warning, if backward computes layers again."""
    if wanted and computes_again:
        warnings.warn("use_cache is off: gradient checkpointing keeps no cache", stacklevel=4)
        return False
    return wanted


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
