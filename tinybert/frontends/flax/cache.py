"""Flax's cache of a decoder: a tree of arrays of full length, which no call changes.

    [bert /] encoder / layer / i / attention / self / cached_key, cached_value   (B, limit, H, K)
                                                      cache_index   how many tokens are in it

Between calls it has this form. In a call its first tokens are the `past_key_values` of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.frontends.flax.parameters import Path, leaves_of, tree_of

_KEYS = ("cached_key", "cached_value")


class Cache:
    """A cache that was given to a call.

    Attributes:
        length: the number of tokens in it. limit: the number that fits.
        past: keys and values (B, H, length, K) for each layer; None while there are none.
    """

    def __init__(self, tree: Any, prefix: Path, layers: int) -> None:
        self._leaves = leaves_of(tree) if isinstance(tree, Mapping) else {}
        self._paths = [(*prefix, str(i), "attention", "self") for i in range(layers)]
        wanted = {(*path, name) for path in self._paths for name in (*_KEYS, "cache_index")}
        if not layers or wanted != self._leaves.keys():
            raise ValueError(
                "past_key_values must be a tree from init_cache of this model, or a call's output"
            )
        index, key = (self._leaves[(*self._paths[0], name)] for name in ("cache_index", _KEYS[0]))
        self.length, self.limit = int(index), key.shape[1]
        self.past = tuple(map(self._layer, self._paths)) if self.length else None

    def _layer(self, path: Path) -> tuple[Tensor, ...]:
        """Return keys and values (B, H, length, K) of one layer."""
        parts = (as_tensor(self._leaves[(*path, name)]) for name in _KEYS)
        return tuple(part[:, : self.length].transpose(1, 2) for part in parts)

    def after(self, past: Any) -> dict[str, Any]:
        """Return the tree after a call whose model returned `past`; this one is not changed."""
        leaves = dict(self._leaves)
        for path, layer in zip(self._paths, past, strict=True):
            for name, part in zip(_KEYS, layer, strict=False):
                new = part.data.swapaxes(1, 2)  # (B, T, H, K)
                full = array_module(new).zeros((len(new), self.limit, *new.shape[2:]), new.dtype)
                full[:, : new.shape[1]] = new
                leaves[(*path, name)] = as_tensor(full)
            leaves[(*path, "cache_index")] = np.array(layer[0].shape[2], np.int32)
        return tree_of(leaves)


def empty(prefix: Path, layers: int, shape: tuple[int, ...], dtype: Any, xp: Any) -> dict[str, Any]:
    """Return the tree of an empty cache; shape is (B, limit, H, K)."""
    leaves: dict[Path, Any] = {}
    for i in range(layers):
        path = (*prefix, str(i), "attention", "self")
        for name in _KEYS:
            leaves[(*path, name)] = as_tensor(xp.zeros(shape, dtype))
        leaves[(*path, "cache_index")] = np.array(0, np.int32)
    return tree_of(leaves)
