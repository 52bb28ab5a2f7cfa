"""`KeyValueCache`: the keys and values of all tokens that a decoder has read.

With the cache, a step of generation computes the new token alone. Cached keys and values are
neither computed again nor copied at every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor, is_grad_enabled
from tinybert.backend import Array, array_module
from tinybert.checks import check_integer
from tinybert.ops.embedding import check_range


class LayerCache:
    """The keys and values of one layer.

    Attributes:
        key, value: (B, G, length, K), of the tokens so far; None while empty. Without heads (MEGA)
            there is no axis G.
        cross: keys and values (B, H, S, K) of the encoder's tokens, for cross-attention; they do
            not change. Empty without cross-attention.
    """

    def __init__(
        self, key: Tensor | None = None, value: Tensor | None = None, *cross: Tensor
    ) -> None:
        self.key, self.value, self.cross = key, value, cross

    @property
    def members(self) -> tuple[Tensor, ...]:
        """Return key and value, if there are any yet, and those of `cross`."""
        own = () if self.key is None or self.value is None else (self.key, self.value)
        return (*own, *self.cross)

    @property
    def length(self) -> int:
        """The number of cached tokens."""
        return 0 if self.key is None else self.key.shape[-2]

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return all keys and values as new arrays, the new ones (B, G, T, K) last.

        Raises ValueError if the new ones do not fit the cached ones.
        """
        if self.key is not None and self.value is not None:
            self._check_fit(key)
            key = F.concat([self.key, key], axis=-2)
            value = F.concat([self.value, value], axis=-2)
        self.key, self.value = key, value
        return key, value

    def reorder(self, rows: Array) -> None:
        """Replace row i by row rows[i]."""
        if self.key is not None and self.value is not None:
            self.key, self.value = _take(self.key.data, rows), _take(self.value.data, rows)
        self.cross = tuple(_take(part.data, rows) for part in self.cross)

    def _check_fit(self, new: Tensor) -> None:
        *rows, _, size = self.key.shape  # type: ignore[union-attr]
        if (*rows, size) != (*new.shape[:-2], new.shape[-1]):
            raise ValueError(
                f"past_key_values holds ({', '.join(map(str, rows))}, length, {size}), "
                f"but the new keys are {new.shape}"
            )
        if (self.key.dtype, self.key.device) != (new.dtype, new.device):  # type: ignore[union-attr]
            raise ValueError(
                f"past_key_values holds {self.key.dtype} on {self.key.device}, "  # type: ignore[union-attr]
                f"but the new keys are {new.dtype} on {new.device}: begin with an empty cache"
            )


class GrowingLayerCache(LayerCache):
    """A LayerCache with spare capacity: new keys and values are written in place.

    When the capacity is used up, it is doubled; up to `limit` tokens it does not grow beyond
    `limit`. n tokens therefore cost at most 2 n copies in all, while joining costs n^2 / 2. Where
    gradients are recorded, keys and values are joined into new arrays, since arrays that a graph
    has saved must not change.
    """

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self._limit = limit
        self._rooms: tuple[Array, Array] | None = None  # (B, G, capacity, K) each

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return all keys and values, the new ones (B, G, T, K) last: views of the cache's memory.

        Raises ValueError if the new ones do not fit the cached ones.
        """
        parts = (key, value, self.key, self.value)
        if is_grad_enabled() and any(part is not None and part.requires_grad for part in parts):
            self._rooms = None
            return super().append(key, value)
        if self.key is not None:
            self._check_fit(key)
        start, stop = self.length, self.length + key.shape[-2]
        if self._rooms is None or self._rooms[0].shape[-2] < stop:
            capacity = 2 * stop if self._limit is None else max(stop, min(2 * stop, self._limit))
            self._rooms = _room(key.data, capacity), _room(value.data, capacity)
            for room, old in zip(self._rooms, (self.key, self.value), strict=True):
                if old is not None:
                    room[..., :start, :] = old.data
        for room, new in zip(self._rooms, (key, value), strict=True):
            room[..., start:stop, :] = new.data
        self._show(stop)
        return self.key, self.value  # type: ignore[return-value]

    def reorder(self, rows: Array) -> None:
        """Replace row i by row rows[i]."""
        length = self.length
        if self._rooms is not None:
            self._rooms = tuple(_take(room, rows).data for room in self._rooms)
            self.key = self.value = None  # set again below
        super().reorder(rows)
        if self._rooms is not None:
            self._show(length)

    def _show(self, length: int) -> None:
        self.key, self.value = (as_tensor(room[..., :length, :]) for room in self._rooms or ())


class KeyValueCache:
    """The keys and values of a decoder of L layers. A model that is called with it appends to it.

    `cache[i]` is a tuple for layer i: keys and values (B, G, length, K), and in a decoder with
    cross-attention also those of the encoder's tokens (B, H, S, K). `tuple(cache)` is the older
    format, a tuple of these tuples.

    Args:
        layers: L.
        in_place: keep spare capacity, and write each step into it without copying the earlier
            ones; if False, every step makes new arrays and leaves the earlier ones unchanged.
        limit: the number of tokens that is expected, >= 1; None if it is not known. It only limits
            the spare capacity: the cache can hold more tokens.

    Raises ValueError for an invalid number of layers or limit.
    """

    def __init__(self, layers: int, in_place: bool = True, limit: int | None = None) -> None:
        check_integer("layers", layers, 0)
        check_integer("limit", limit, 1, optional=True)
        self.layers = [
            GrowingLayerCache(limit) if in_place else LayerCache() for _ in range(layers)
        ]

    @classmethod
    def from_legacy(cls, layers: Any, in_place: bool = True) -> KeyValueCache:
        """Return a cache that begins with the given keys and values; these are not changed.

        Args:
            layers: for each layer a tuple of Tensors: keys and values (B, G, T, K), and in a
                decoder with cross-attention also those of the encoder's tokens.
            in_place: as of the class.
        """
        layers = list(layers)
        cache = cls(len(layers), in_place)
        for layer, members in zip(cache.layers, layers, strict=True):
            layer.key, layer.value, *cross = members or (None, None)
            layer.cross = tuple(cross)
        return cache

    @property
    def length(self) -> int:
        """The number of cached tokens."""
        return self.layers[0].length if self.layers else 0

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, layer: int) -> tuple[Tensor, ...]:
        return self.layers[layer].members

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return (layer.members for layer in self.layers)

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return all keys and values of a layer, the new ones (B, G, T, K) last.

        Raises ValueError if the new ones differ from the cached ones in shape, dtype or device.
        """
        return self.layers[layer].append(key, value)

    def reorder(self, rows: Any) -> None:
        """Replace row i by row rows[i], as beam search does when it keeps the best beams.

        Args:
            rows: (N,) integers from 0 to B - 1, as a list, an array or a Tensor. The cache has N
                rows afterwards.

        Raises ValueError for another shape and for rows out of range, TypeError for numbers that
        are not integers. An empty cache is not changed and accepts any rows.
        """
        first = next((part for members in self for part in members if part is not None), None)
        if first is None:
            return
        numbers = as_tensor(rows, first.device).data
        if numbers.ndim != 1:
            raise ValueError(f"rows must have shape (N,), got {numbers.shape}")
        check_range(numbers, len(first), "rows")
        for layer in self.layers:
            layer.reorder(numbers)


def _room(like: Array, capacity: int) -> Array:
    *rows, _, size = like.shape
    return array_module(like).empty((*rows, capacity, size), like.dtype)


def _take(array: Array, rows: Array) -> Tensor:
    return as_tensor(array_module(rows).take(array, rows, axis=0))
