"""`MegaCache`: the states of all layers of a MEGA decoder after the tokens so far.

Shapes   B batch, T tokens so far, S tokens of an encoder, D hidden, Z features of queries and keys,
         V of values
"""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import Array
from tinybert.nn import KeyValueCache
from tinybert.nn.cache import LayerCache


class MegaLayerCache:
    """The state of a layer after the tokens so far: its part of `past_key_values`.

    Attributes:
        tokens: the keys (B, T, Z) and values (B, T, V) of all tokens, with chunks those of the
            current chunk; empty where a chunk has just ended.
        state: of the moving average, see `DampedEMA`.
        cross_key, cross_value: (B, S, Z) and (B, S, D) of the encoder's tokens.
        seen: (B,), the number of tokens so far, without padding on the left; of chunked decoders
            with cross-attention.
    """

    def __init__(
        self,
        size: int,
        tokens: LayerCache,
        state: Tensor | None = None,
        cross_key: Tensor | None = None,
        cross_value: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> None:
        """Make a cache with `size` members."""
        self.size, self.tokens, self.state = size, tokens, state
        self.cross_key, self.cross_value, self.seen = cross_key, cross_value, seen

    @property
    def members(self) -> tuple[Tensor | None, ...]:
        """The first `size` of key, value, state, cross_key, cross_value and seen, None included."""
        tokens = self.tokens
        rest = (self.state, self.cross_key, self.cross_value, self.seen)
        return (tokens.key, tokens.value, *rest)[: self.size]

    @property
    def length(self) -> int:
        """The number of tokens whose keys and values are cached."""
        return self.tokens.length

    def keep_last(self, count: int) -> None:
        """Keep the keys and values of the last `count` tokens only."""
        key, value, first = self.tokens.key, self.tokens.value, self.length - count
        if key is not None and value is not None:
            self.tokens = LayerCache(key[:, first:], value[:, first:]) if count else LayerCache()

    def reorder(self, rows: Array) -> None:
        """Replace row i by row rows[i]."""
        self.tokens.reorder(rows)
        for name in ("state", "cross_key", "cross_value", "seen"):
            member = getattr(self, name)
            if member is not None:
                setattr(self, name, as_tensor(member.data[rows]))


class MegaCache(KeyValueCache):
    """The states of all layers of a MEGA decoder; `cache[i]` is the tuple of layer i.

    Args:
        layers: L.
        size: the number of members of a layer.
        in_place, limit: as of KeyValueCache. In place is for attention without chunks.
    """

    layers: list[Any]

    def __init__(
        self, layers: int, size: int, in_place: bool = True, limit: int | None = None
    ) -> None:
        super().__init__(layers, in_place, limit)
        self.layers = [MegaLayerCache(size, tokens) for tokens in self.layers]

    @classmethod
    def from_legacy(cls, layers: Any, in_place: bool = True) -> MegaCache:
        """Return a cache that begins with the given members of each layer, which are not changed.

        Args:
            layers: for each layer a tuple of Tensors or None, see `MegaLayerCache.members`.
            in_place: as of the class.
        """
        given = [tuple(members) for members in layers]
        cache = cls(len(given), len(given[0]) if given else 0, in_place)
        for number, (key, value, *rest) in enumerate(given):
            tokens = cache.layers[number].tokens
            tokens.key, tokens.value = key, value
            cache.layers[number] = MegaLayerCache(2 + len(rest), tokens, *rest)
        return cache
