"""Relative positions of BERT and MegatronBERT: scores that depend on the distance of two tokens."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.nn import Embedding

POSITION_TYPES = ("absolute", "relative_key", "relative_key_query")


class DistanceEmbedding(Embedding):
    """The scores of distances, added to query_l . key_r before the division by sqrt(K).

        relative_key          query_l . E[l - r]
        relative_key_query    query_l . E[l - r] + key_r . E[l - r]

    E has a row of K features for each of the 2 * max_position_embeddings - 1 distances.

    Source   Shaw et al. 2018, arXiv:1803.02155, eq. 5; Huang et al. 2020, arXiv:2009.13658
    Shapes   B batch, H heads, Tq queries, Tk keys, K head size
    """

    def __init__(self, config: Any) -> None:
        max_positions = config.max_position_embeddings
        head_size = config.hidden_size // config.num_attention_heads
        super().__init__(2 * max_positions - 1, head_size)
        self.max_positions = max_positions
        self.of_keys = config.position_embedding_type == "relative_key_query"

    def forward(self, query: Tensor, key: Tensor, first: int) -> Tensor:  # type: ignore[override]
        """Return the scores (B, H, Tq, Tk) of queries at `first`, ... and keys at 0, 1, ..."""
        xp, (queries, keys) = array_module(query.data), (query.shape[2], key.shape[2])
        distance = xp.arange(first, first + queries)[:, None] - xp.arange(keys)  # l - r
        table = super().forward(as_tensor(distance + self.max_positions - 1))  # (Tq, Tk, K)
        scores = _products(query, table)
        if self.of_keys:
            scores = scores + _products(key, table.transpose(0, 1)).transpose(-1, -2)
        return scores


def _products(x: Tensor, table: Tensor) -> Tensor:
    """Return x_t . table_tr as (B, H, T, R), for x (B, H, T, K) and a table (T, R, K)."""
    batch, heads, length, size = x.shape
    rows = x.permute(2, 0, 1, 3).reshape(length, batch * heads, size)
    scores = rows @ table.transpose(-1, -2)  # (T, B * H, R)
    return scores.reshape(length, batch, heads, -1).permute(1, 2, 0, 3)
