"""`KeyValueCache`: the keys and values of the tokens that a decoder has read, so that the next one
is read alone. What is remembered is never computed again, and never copied from step to step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor, is_grad_enabled
from tinybert.backend import Array, array_module


class LayerCache:
    """The keys and values (B, G, length, K) of one layer: `key` and `value`, None while empty."""

    def __init__(self) -> None:
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    @property
    def length(self) -> int:
        """How many tokens are in it."""
        return 0 if self.key is None else self.key.shape[2]

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, the new ones (B, G, T, K) last: they are joined into new arrays."""
        if self.key is not None and self.value is not None:
            key = F.concat([self.key, key], axis=2)
            value = F.concat([self.value, value], axis=2)
        self.key, self.value = key, value
        return key, value

    def reorder(self, rows: Array) -> None:
        """Let row i be what was row rows[i]."""
        if self.key is not None and self.value is not None:
            self.key, self.value = _take(self.key.data, rows), _take(self.value.data, rows)


class GrowingLayerCache(LayerCache):
    """The same with room at the end: a step writes there, and what is returned are views.

    Where there is no more room, it is doubled. So n tokens cost at most 2 n copies in all, where
    joining costs n^2 / 2. What is recorded for a backward pass is joined, as nothing that a graph
    has saved may be written to.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rooms: tuple[Array, Array] | None = None  # (B, G, capacity, K) each

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, the new ones (B, G, T, K) last: views of the cache's memory."""
        if is_grad_enabled() and (key.requires_grad or value.requires_grad or self._is_recorded):
            self._rooms = None
            return super().append(key, value)
        start, stop = self.length, self.length + key.shape[2]
        if self._rooms is None or self._rooms[0].shape[2] < stop:
            self._rooms = self._larger(key.data, 2 * stop), self._larger(value.data, 2 * stop)
            for room, old in zip(self._rooms, (self.key, self.value), strict=True):
                if old is not None:
                    room[:, :, :start] = old.data
        for room, new in zip(self._rooms, (key, value), strict=True):
            room[:, :, start:stop] = new.data
        self._show(stop)
        return self.key, self.value  # type: ignore[return-value]

    def reorder(self, rows: Array) -> None:
        """Let row i be what was row rows[i]."""
        if self._rooms is None:
            super().reorder(rows)
            return
        length = self.length
        self._rooms = tuple(_take(room, rows).data for room in self._rooms)
        self._show(length)

    def _show(self, length: int) -> None:
        self.key, self.value = (as_tensor(room[:, :, :length]) for room in self._rooms or ())

    @property
    def _is_recorded(self) -> bool:
        return self.key is not None and self.key.requires_grad

    def _larger(self, like: Array, capacity: int) -> Array:
        batch, heads, _, size = like.shape
        return array_module(like).empty((batch, heads, capacity, size), like.dtype)


class KeyValueCache:
    """What a decoder of L layers remembers; a model changes it when it is called with it.

    `cache[i]` is the pair of layer i, keys and values (B, G, length, K); iterating gives all pairs,
    so that `tuple(cache)` is the older format: a tuple with a pair for each layer.

    Args:
        layers: L.
        in_place: keep room for more, so that a step copies nothing of the past; otherwise every
            step makes new arrays and leaves those before as they were.
    """

    def __init__(self, layers: int, in_place: bool = True) -> None:
        self.layers = [GrowingLayerCache() if in_place else LayerCache() for _ in range(layers)]

    @classmethod
    def from_legacy(cls, pairs: Any, in_place: bool = True) -> KeyValueCache:
        """A cache that goes on from a pair (keys, values) of Tensors (B, G, T, K) for each layer.

        These arrays are only read.
        """
        pairs = list(pairs)
        cache = cls(len(pairs), in_place)
        for layer, (key, value) in zip(cache.layers, pairs, strict=True):
            layer.key, layer.value = key, value
        return cache

    @property
    def length(self) -> int:
        """How many tokens are in it."""
        return self.layers[0].length if self.layers else 0

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, layer: int) -> tuple[Any, Any]:
        return self.layers[layer].key, self.layers[layer].value

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return (self[layer] for layer in range(len(self)))

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of a layer, the new ones (B, G, T, K) last.

        Raises ValueError if these do not fit those that are there.
        """
        old = self.layers[layer].key
        if old is not None and (*old.shape[:2], old.shape[3]) != (*key.shape[:2], key.shape[3]):
            batch, heads, _, size = old.shape
            raise ValueError(
                f"past_key_values holds ({batch}, {heads}, length, {size}) for (batch, heads, "
                f"length, head size), but the new keys are {key.shape}"
            )
        return self.layers[layer].append(key, value)

    def reorder(self, rows: Array) -> None:
        """Let row i go on from what was row rows[i], as a beam search wants it."""
        for layer in self.layers:
            layer.reorder(rows)


def _take(array: Array, rows: Array) -> Tensor:
    return as_tensor(array_module(rows).take(array, rows, axis=0))
