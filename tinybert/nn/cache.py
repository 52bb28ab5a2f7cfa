"""`KeyValueCache`: the keys and values of the tokens that a decoder has read, so that the next one
is read alone. What is remembered is never computed again, and never copied from step to step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor, is_grad_enabled
from tinybert.backend import Array, array_module
from tinybert.ops.embedding import check_range


class LayerCache:
    """What one layer remembers.

    Attributes:
        key, value: (B, G, length, K), of the tokens so far; None while empty.
        cross: keys and values (B, H, S, K) of the sequence that cross-attention looks at, which
            stays as it is; empty without.
    """

    def __init__(
        self, key: Tensor | None = None, value: Tensor | None = None, *cross: Tensor
    ) -> None:
        self.key, self.value, self.cross = key, value, cross

    @property
    def members(self) -> tuple[Tensor, ...]:
        """key and value, if there are any yet, and those of `cross`."""
        own = () if self.key is None or self.value is None else (self.key, self.value)
        return (*own, *self.cross)

    @property
    def length(self) -> int:
        """How many tokens are in it."""
        return 0 if self.key is None else self.key.shape[2]

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, the new ones (B, G, T, K) last: they are joined into new arrays.

        Raises ValueError if the new ones do not fit those that are there.
        """
        if self.key is not None and self.value is not None:
            self._check_fit(key)
            key = F.concat([self.key, key], axis=2)
            value = F.concat([self.value, value], axis=2)
        self.key, self.value = key, value
        return key, value

    def reorder(self, rows: Array) -> None:
        """Let row i be what was row rows[i]."""
        if self.key is not None and self.value is not None:
            self.key, self.value = _take(self.key.data, rows), _take(self.value.data, rows)
        self.cross = tuple(_take(part.data, rows) for part in self.cross)

    def _check_fit(self, new: Tensor) -> None:
        batch, heads, _, size = self.key.shape  # type: ignore[union-attr]
        if (batch, heads, size) != (*new.shape[:2], new.shape[3]):
            raise ValueError(
                f"past_key_values holds ({batch}, {heads}, length, {size}) for (batch, heads, "
                f"length, head size), but the new keys are {new.shape}"
            )
        if (self.key.dtype, self.key.device) != (new.dtype, new.device):  # type: ignore[union-attr]
            raise ValueError(
                f"past_key_values holds {self.key.dtype} on {self.key.device}, "  # type: ignore[union-attr]
                f"but the new keys are {new.dtype} on {new.device}: begin with an empty cache"
            )


class GrowingLayerCache(LayerCache):
    """The same with room at the end: a step writes there, and what is returned are views.

    Where there is no more room, it is doubled, though not beyond `limit` tokens until there are
    more. So n tokens cost at most 2 n copies in all, where joining costs n^2 / 2. What is recorded
    for a backward pass is joined, as nothing that a graph has saved may be written to.
    """

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self._limit = limit
        self._rooms: tuple[Array, Array] | None = None  # (B, G, capacity, K) each

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, the new ones (B, G, T, K) last: views of the cache's memory.

        Raises ValueError if the new ones do not fit those that are there.
        """
        parts = (key, value, self.key, self.value)
        if is_grad_enabled() and any(part is not None and part.requires_grad for part in parts):
            self._rooms = None
            return super().append(key, value)
        if self.key is not None:
            self._check_fit(key)
        start, stop = self.length, self.length + key.shape[2]
        if self._rooms is None or self._rooms[0].shape[2] < stop:
            capacity = 2 * stop if self._limit is None else max(stop, min(2 * stop, self._limit))
            self._rooms = _room(key.data, capacity), _room(value.data, capacity)
            for room, old in zip(self._rooms, (self.key, self.value), strict=True):
                if old is not None:
                    room[:, :, :start] = old.data
        for room, new in zip(self._rooms, (key, value), strict=True):
            room[:, :, start:stop] = new.data
        self._show(stop)
        return self.key, self.value  # type: ignore[return-value]

    def reorder(self, rows: Array) -> None:
        """Let row i be what was row rows[i]."""
        length = self.length
        if self._rooms is not None:
            self._rooms = tuple(_take(room, rows).data for room in self._rooms)
            self.key = self.value = None  # they are shown anew below
        super().reorder(rows)
        if self._rooms is not None:
            self._show(length)

    def _show(self, length: int) -> None:
        self.key, self.value = (as_tensor(room[:, :, :length]) for room in self._rooms or ())


class KeyValueCache:
    """What a decoder of L layers remembers; a model changes it when it is called with it.

    `cache[i]` are the members of layer i: keys and values (B, G, length, K), and in a decoder that
    looks at an encoder also those of the encoder's tokens (B, H, S, K). Iterating gives those of
    all layers, so that `tuple(cache)` is the older format: a tuple of tuples.

    Args:
        layers: L.
        in_place: keep room for more, so that a step copies nothing of the past; otherwise every
            step makes new arrays and leaves those before as they were.
        limit: how many tokens are expected, from 1 on; None if that is not known. It is a hint, no
            bound: doubling stops there, and what comes beyond gets room as it comes.

    Raises ValueError for a number of layers or a limit that is not possible.
    """

    def __init__(self, layers: int, in_place: bool = True, limit: int | None = None) -> None:
        _check_whole("layers", layers, 0)
        if limit is not None:
            _check_whole("limit", limit, 1)
        self.layers = [
            GrowingLayerCache(limit) if in_place else LayerCache() for _ in range(layers)
        ]

    @classmethod
    def from_legacy(cls, layers: Any, in_place: bool = True) -> KeyValueCache:
        """A cache that goes on from keys and values, and those of an encoder's tokens if there are
        any, for each layer: Tensors (B, G, T, K). They are only read.
        """
        layers = list(layers)
        cache = cls(len(layers), in_place)
        for layer, members in zip(cache.layers, layers, strict=True):
            layer.key, layer.value, *cross = members or (None, None)
            layer.cross = tuple(cross)
        return cache

    @property
    def length(self) -> int:
        """How many tokens are in it."""
        return self.layers[0].length if self.layers else 0

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, layer: int) -> tuple[Tensor, ...]:
        return self.layers[layer].members

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return (layer.members for layer in self.layers)

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of a layer, the new ones (B, G, T, K) last.

        Raises ValueError if these do not fit those that are there: in shape, dtype or device.
        """
        return self.layers[layer].append(key, value)

    def reorder(self, rows: Any) -> None:
        """Let row i go on from what was row rows[i], as a beam search wants it.

        Args:
            rows: (N,) integers from 0 to B - 1, as a list, an array or a Tensor. There are N rows
                afterwards.

        Raises ValueError for another shape and for rows that there are not, TypeError for what are
        no integers. Of an empty cache all rows are alike.
        """
        first = next((members[0] for members in self if members), None)
        if first is None:
            return
        numbers = as_tensor(rows, first.device).data
        if numbers.ndim != 1:
            raise ValueError(f"rows must have shape (N,), got {numbers.shape}")
        check_range(numbers, len(first), "rows")
        for layer in self.layers:
            layer.reorder(numbers)


def _check_whole(name: str, value: Any, least: int) -> None:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(f"{name} must be an integer from {least} on, got {value!r}")


def _room(like: Array, capacity: int) -> Array:
    batch, heads, _, size = like.shape
    return array_module(like).empty((batch, heads, capacity, size), like.dtype)


def _take(array: Array, rows: Array) -> Tensor:
    return as_tensor(array_module(rows).take(array, rows, axis=0))
