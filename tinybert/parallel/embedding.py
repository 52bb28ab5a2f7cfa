"""The vocabulary-parallel embedding: each rank has some rows of the table.

    y = sum_r [id is one of rank r's] * weight_r[id - first_r]

A rank looks up the ids that it has; others get zeros, and the sum over the ranks (g) has every row.

Source   Shoeybi et al. 2019, arXiv:1909.08053, section 3, "Input embedding"
Shapes   ids (...)   weight (V / p, D)   y (..., D)
Bytes    forward: an allreduce of y. Backward: none.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinybert import functional as F
from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.nn import Embedding, Module
from tinybert.ops.embedding import check_range
from tinybert.parallel import conjugate
from tinybert.parallel.communicator import Communicator
from tinybert.parallel.grid import span
from tinybert.parallel.linear import Sharded


class VocabularyParallelEmbedding(Sharded, Embedding):
    """A table of V rows of D features, divided by rows.

    Args:
        layer: the full table, the same on all ranks.
        group: the ranks that share it.
    """

    axes: ClassVar[dict[str, int]] = {"weight": 0}

    def __init__(self, layer: Embedding, group: Communicator) -> None:
        Module.__init__(self)
        self.num_embeddings, self.embedding_dim = layer.num_embeddings, layer.embedding_dim
        self.take(layer, group)
        self.rows = span(layer.num_embeddings, group.size, group.rank)
        own = layer.padding_idx is not None and self.rows.start <= layer.padding_idx
        own = own and layer.padding_idx < self.rows.stop
        self.padding_idx = layer.padding_idx - self.rows.start if own else None

    def forward(self, ids: Any, name: str = "input") -> Tensor:
        """Return the rows (..., D) of integers ids (...), which errors call `name`."""
        array = as_tensor(ids, self.weight.device).data
        check_range(array, self.num_embeddings, name)
        own = (array >= self.rows.start) & (array < self.rows.stop)
        local = array_module(array).where(own, array - self.rows.start, 0)
        y = F.embedding(as_tensor(local), self.weight, self.padding_idx, name=name)
        return conjugate.add(y.masked_fill(as_tensor(~own[..., None]), 0.0), self.group)
