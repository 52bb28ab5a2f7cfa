"""Matrix multiplication."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor
from tinybert.backend import Array, kernel
from tinybert.ops.arguments import conjugate, operands, promote, unbroadcast


class MatMul(Function):
    """y = a @ b over the last two axes, those in front broadcast; vectors are rows on the left,
    columns on the right.

    With y_ij = sum_k a_ik b_kj:   da = dy @ b^T   and   db = a^T @ dy   (conjugated for complex
    values).
    """

    half_on = "cuda"

    def forward(self, a: Any, b: Any) -> Any:
        if not (hasattr(a, "shape") and hasattr(b, "shape")) or a.ndim == 0 or b.ndim == 0:
            raise ValueError(
                "@ needs tensors with at least one axis on both sides; use * for a number"
            )
        inner_b = b.shape[-2] if b.ndim > 1 else b.shape[0]
        if a.shape[-1] != inner_b:
            raise ValueError(
                f"@: the last axis of {a.shape} must match the second to last (or only) axis "
                f"of {b.shape}"
            )
        self.a, self.b = promote(a, b)
        return product(self.a, self.b)

    def backward(self, dy: Any) -> Any:
        a, b = self.a, self.b
        rows = a[None, :] if a.ndim == 1 else a  # (..., I, K)
        columns = b[:, None] if b.ndim == 1 else b  # (..., K, J)
        if a.ndim == 1:
            dy = dy[..., None, :] if b.ndim > 1 else dy[None]
        if b.ndim == 1:
            dy = dy[..., None]
        da = db = None
        if self.needs_input_grad[0]:
            da = unbroadcast(product(dy, conjugate(columns).swapaxes(-1, -2)), rows.shape)
            da = da.reshape(a.shape)
        if self.needs_input_grad[1]:
            db = unbroadcast(product(conjugate(rows).swapaxes(-1, -2), dy), columns.shape)
            db = db.reshape(b.shape)
        return da, db


def matmul(input: Any, other: Any) -> Tensor:
    """Return input @ other, the product of matrices over the last two axes."""
    return MatMul.apply(*operands(input, other))


@kernel
def product(a: Array, b: Array) -> Array:
    """Return a @ b."""
    return a @ b
