"""Dropout: random elements set to 0 in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, draw_kept, draw_seed, generator_for, kernel
from tinybert.ops.arguments import normal_axes


class Dropout(Function):
    """y = x * keep / (1 - p), where keep is 1 with probability 1 - p and 0 otherwise.

    Source   Srivastava et al. 2014, JMLR 15; dividing by 1 - p keeps the expected value
    Oracle   torch.nn.functional.dropout (the same distribution, not the same stream)

    dx = dy * keep / (1 - p). Saved: keep, one byte an element; it has size 1 on `shared` axes.
    """

    def forward(self, x: Any, *, p: float, shared: tuple[int, ...] = ()) -> Any:
        self.scale = 1 / (1 - p) if p < 1 else 0.0
        if shared:
            shape = [1 if axis in shared else size for axis, size in enumerate(x.shape)]
            self.keep = draw_kept(generator_for(x), shape, p)
            return x * self.keep * self.scale
        y, self.keep = dropout_forward(x, p, self.scale, draw_seed)
        return y

    def backward(self, dy: Any) -> Any:
        return dropout_backward(dy, self.keep, self.scale)


def dropout(input: Any, p: float = 0.5, training: bool = True, *, shared: Any = ()) -> Tensor:
    """Return input, in training with elements set to 0 with probability p, the others / (1 - p).

    shared: axes along which all elements are kept or dropped together.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be from 0 to 1, got {p}")
    x = as_tensor(input)
    return Dropout.apply(x, p=p, shared=normal_axes(shared, x.ndim)) if training and p else x


# --- kernels --------------------------------------------------------------------------------------


@kernel
def dropout_forward(
    x: Array, p: float, scale: float, seed: Callable[[], int]
) -> tuple[Array, Array]:
    """Return y = x * keep * scale, and keep, drawn on the device of x, or from a `seed()`."""
    keep = draw_kept(generator_for(x), x.shape, p)
    return x * keep * scale, keep


@kernel
def dropout_backward(dy: Array, keep: Array, scale: float) -> Array:
    """Return dx = dy * keep * scale."""
    return dy * keep * scale
