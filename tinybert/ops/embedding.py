"""The embedding table: rows looked up by id."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array
from tinybert.ops.scatter import scatter_sum


class Embedding(Function):
    """y = weight[ids]: one row of the table for every id.

    Shapes   ids (...) integers   weight (V, D)   y (..., D)
    Oracle   torch.nn.functional.embedding

    dweight[v] = the sum of dy over all positions with id v: an id that occurs three times collects
    three gradients. The row `padding_idx` gets none. Ids are checked before the lookup,
    since a GPU library would silently wrap those that are out of range.
    """

    def forward(self, ids: Any, weight: Any, *, padding_idx: int | None, name: str) -> Any:
        check_range(ids, weight.shape[0], name)
        self.ids, self.count, self.padding_idx = ids, weight.shape[0], padding_idx
        return weight[ids]

    def backward(self, dy: Any) -> Any:
        rows = dy.reshape(self.ids.size, dy.shape[-1])
        dweight = scatter_sum(rows, self.ids.reshape(-1), self.count)
        if self.padding_idx is not None:
            dweight[self.padding_idx] = 0
        return None, dweight


def embedding(
    input: Any, weight: Tensor, padding_idx: int | None = None, *, name: str = "input"
) -> Tensor:
    """Return rows of `weight` (V, D) by id: (...) integers to (..., D).

    Row `padding_idx` is not trained. Raises ValueError, calling the argument `name`, for ids
    outside 0 to V - 1.
    """
    ids = as_tensor(input, weight.device)
    return Embedding.apply(ids, weight, padding_idx=padding_idx, name=name)


def check_range(ids: Array, limit: int, name: str) -> None:
    """Raise unless `ids` are integers from 0 to limit - 1, naming the argument and the id."""
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {ids.dtype}")
    # Read without its sign, a negative number is large: one reduction finds both faults.
    if ids.size and int(ids.view(ids.dtype.str.replace("i", "u")).max()) >= limit:
        worst = int(ids.max()) if int(ids.max()) >= limit else int(ids.min())
        raise ValueError(f"{name} must be from 0 to {limit - 1}, got {worst}")
