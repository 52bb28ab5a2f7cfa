"""One-hot vectors of class numbers."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.embedding import check_range


def one_hot(input: Any, num_classes: int = -1) -> Tensor:
    """Return class numbers (...) as (..., num_classes) integers: 1 at the number, 0 elsewhere."""
    ids = as_tensor(input).data
    xp = array_module(ids)
    if num_classes == -1:
        num_classes = int(ids.max()) + 1 if ids.size else 0
    check_range(ids, num_classes, "input")
    return as_tensor((ids[..., None] == xp.arange(num_classes)).astype("int64"))
