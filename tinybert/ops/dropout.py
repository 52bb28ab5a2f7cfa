"""Dropout: random elements set to 0 in training."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import generator_for


class Dropout(Function):
    """y = x * keep / (1 - p), where keep is 1 with probability 1 - p and 0 otherwise.

    Source   Srivastava et al. 2014, JMLR 15; dividing by 1 - p keeps the expected value
    Oracle   torch.nn.functional.dropout (the same distribution, not the same stream)

    dx = dy * keep / (1 - p). Saved: keep, one byte an element; it has size 1 on `shared` axes.
    """

    def forward(self, x: Any, *, p: float, shared: tuple[int, ...] = ()) -> Any:
        shape = [1 if axis in shared else size for axis, size in enumerate(x.shape)]
        self.keep = generator_for(x).random(shape, dtype="float32") >= p
        self.scale = 1 / (1 - p) if p < 1 else 0.0
        return x * self.keep * self.scale

    def backward(self, dy: Any) -> Any:
        return dy * self.keep * self.scale


def dropout(input: Any, p: float = 0.5, training: bool = True, *, shared: Any = ()) -> Tensor:
    """Return input, in training with elements set to 0 with probability p, the others / (1 - p).

    shared: axes along which all elements are kept or dropped together.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be from 0 to 1, got {p}")
    x = as_tensor(input)
    return Dropout.apply(x, p=p, shared=shared) if training and p else x
