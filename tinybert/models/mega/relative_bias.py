"""MEGA's two relative biases, which depend on the distance of two tokens and are added to scores.

Shapes   Tq queries, Tk keys, Z features of queries and keys
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor, get_default_device, get_default_dtype
from tinybert.backend import array_module
from tinybert.nn import Module, Parameter, init


class SimpleBias(Module):
    """bias[i, j] = table[limit - 1 + j - i]: a number for each distance.

    Args:
        max_positions: the table has 2 max_positions - 1 rows.
        limit: the maximum number of positions.

    If the config has a chunk_size, that is the limit: of the rows only the first 2 limit - 1 are
    used, and the others exist for compatibility with the files of transformers. (The original's
    table lacks them, so its checkpoints of this kind cannot be loaded.)
    """

    def __init__(self, max_positions: int, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.rel_pos_bias = Parameter(init.full((2 * max_positions - 1,), 0.0))

    def forward(self, first: Any, queries: int, keys: int) -> Tensor:
        """Return the bias (Tq, Tk) of queries at `first`, `first` + 1, ... to keys at 0, 1, ...;
        (B, 1, Tq, Tk) if `first` is an array (B,).

        Raises ValueError for positions beyond the limit.
        """
        xp = array_module(self.rel_pos_bias.data)
        positions = _positions(xp, first, queries)
        last = first if isinstance(first, int) else int(first.max()) if first.size else 0
        if max(last + queries, keys) > self.limit:
            raise ValueError(
                f"the simple bias has numbers for {self.limit} positions (max_positions, or "
                f"chunk_size if that is set), got {max(last + queries, keys)}"
            )
        distance = xp.arange(keys) - positions[..., None]
        return self.rel_pos_bias[as_tensor(distance + (self.limit - 1))]


class RotaryBias(Module):
    """bias[i, j] = rot(alpha, i) . rot(b, j): two learned vectors, rotated by their positions.

    rot rotates features m and m + Z/2 together by the angle position * 10000^(-2 m / Z) (Su et al.
    2021, arXiv:2104.09864); so the bias depends on i - j alone, and the length is not limited.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.alpha = Parameter(init.full((1, size), 0.0))
        self.b_param = Parameter(init.full((1, size), 0.0))
        zero = as_tensor(np.zeros(1, get_default_dtype())).to(get_default_device())
        self.register_buffer("_float_tensor", zero)  # not used, but files contain it

    def forward(self, first: Any, queries: int, keys: int) -> Tensor:
        """Return the bias (Tq, Tk) of queries at `first`, `first` + 1, ... to keys at 0, 1, ...;
        (B, 1, Tq, Tk) if `first` is an array (B,).
        """
        of_queries, of_keys = self.vectors(first, queries, keys)
        return of_queries @ of_keys.transpose(0, 1)

    def vectors(self, first: Any, queries: int, keys: int) -> tuple[Tensor, Tensor]:
        """Return the rotated vectors of the queries (Tq, Z), or (B, 1, Tq, Z) if `first` is an
        array, and of the keys (Tk, Z). Their products are the bias: appended to queries and keys
        they add it to the scores.
        """
        return self._rotated(self.alpha, first, queries), self._rotated(self.b_param, 0, keys)

    def _rotated(self, vector: Tensor, first: Any, count: int) -> Tensor:
        cos, sin = _angles(vector.data, first, count, self.size // 2)
        return F.rotary_embedding(vector.expand(*cos.shape), cos, sin)


def _positions(xp: Any, first: Any, count: int) -> Any:
    """Return the positions (count,), or (B, 1, count) if `first` is an array (B,); padding on the
    left has position 0.
    """
    if isinstance(first, int):
        return xp.arange(count) + first
    return xp.maximum(xp.arange(count) + first[:, None, None], 0)


def _angles(like: Any, first: Any, count: int, half: int) -> tuple[Any, Any]:
    """Return cos and sin (..., count, 2 half) of the angles of `_positions`, computed in
    float64.
    """
    xp = array_module(like)
    speed = xp.exp(xp.arange(half) * (-math.log(10000) / half))
    angle = _positions(xp, first, count).astype("float64")[..., None] * speed
    cos, sin = (f(angle).astype(like.dtype) for f in (xp.cos, xp.sin))
    return xp.concatenate([cos, cos], axis=-1), xp.concatenate([sin, sin], axis=-1)
