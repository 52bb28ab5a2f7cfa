"""Products: matrices, the linear layer, and einsum."""

from __future__ import annotations

import math
from typing import Any

from tinybert.autograd import Function
from tinybert.backend import array_module, kernels_of
from tinybert.ops.arguments import promote, unbroadcast
from tinybert.ops.elementwise import conjugate


class MatMul(Function):
    """y = a @ b over the last two axes, those in front broadcast; vectors are rows on the left,
    columns on the right.

    With y_ij = sum_k a_ik b_kj:   da = dy @ b^T   and   db = a^T @ dy   (conjugated for complex
    values).
    """

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
        return self.a @ self.b

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
            da = unbroadcast(dy @ conjugate(columns).swapaxes(-1, -2), rows.shape).reshape(a.shape)
        if self.needs_input_grad[1]:
            db = unbroadcast(conjugate(rows).swapaxes(-1, -2) @ dy, columns.shape).reshape(b.shape)
        return da, db


class Linear(Function):
    """y = x @ weight^T + bias: the affine map of every dense layer.

    Shapes   x (..., I)   weight (O, I)   bias (O,) or None   y (..., O)
    Oracle   torch.nn.functional.linear

        dx = dy @ weight      dweight = dy^T @ x      dbias = sum of dy over all rows

    All axes but the last are rows: one large product, which BLAS likes, instead of one a sequence.
    """

    def forward(self, x: Any, weight: Any, bias: Any = None) -> Any:
        if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
            raise ValueError(
                f"linear: x of shape {x.shape} must end in in_features of weight (out, in) = "
                f"{weight.shape}"
            )
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(f"linear: bias must have shape {weight.shape[:1]}, got {bias.shape}")
        self.x, self.weight = x, weight
        self.rows = math.prod(x.shape[:-1])
        y = self.product(x.reshape(self.rows, x.shape[-1]), weight, bias)  # (rows, O)
        return y.reshape(*x.shape[:-1], weight.shape[0])

    def product(self, rows: Any, weight: Any, bias: Any) -> Any:
        """The output (N, O) for rows (N, I)."""
        return kernels_of(rows).linear(rows, weight, bias)

    def backward(self, dy: Any) -> Any:
        x, weight = self.x, self.weight
        rows = dy.reshape(self.rows, dy.shape[-1])  # (rows, O)
        need = (*self.needs_input_grad, False)[:3]
        dx = (rows @ weight).reshape(x.shape) if need[0] else None
        dweight = rows.T @ x.reshape(self.rows, x.shape[-1]) if need[1] else None
        dbias = rows.sum(axis=0) if need[2] else None
        return (dx, dweight, dbias)[: len(self.needs_input_grad)]


class LinearGelu(Linear):
    """y = gelu(x @ weight^T + bias): a linear layer and its activation in one pass over memory.

    Shapes   those of Linear
    Oracle   torch.nn.functional.gelu(torch.nn.functional.linear(x, weight, bias))

    With dz = dy * gelu'(z) at z = x @ weight^T + bias, backward is Linear's for dz. Saved: x,
    weight, and the slope gelu'(z).
    """

    def product(self, rows: Any, weight: Any, bias: Any) -> Any:
        want_slope = any(self.needs_input_grad)
        y, self.slope = kernels_of(rows).linear_gelu(rows, weight, bias, want_slope)
        return y

    def backward(self, dy: Any) -> Any:
        return super().backward(dy.reshape(self.slope.shape) * self.slope)


class Einsum(Function):
    """y = sum over the letters missing from the output, for example "bqd,bkd->bqk" (explicit or
    implicit output).

    The gradient of one operand is again an einsum: of dy and the other operands, with that
    operand's letters as output. A letter that only this operand has was summed over, so its
    gradient is repeated along it.
    """

    def forward(self, *operands: Any, equation: str) -> Any:
        self.terms, self.output = _parse(equation, operands)
        self.operands = operands
        return array_module(operands[0]).einsum(
            ",".join(self.terms) + "->" + self.output, *operands, optimize=len(operands) > 2
        )

    def backward(self, dy: Any) -> Any:
        return tuple(
            self._one(position, dy) if need else None
            for position, need in enumerate(self.needs_input_grad)
        )

    def _one(self, position: int, dy: Any) -> Any:
        xp = array_module(dy)
        term, operand = self.terms[position], self.operands[position]
        others = [
            (t, conjugate(o))
            for i, (t, o) in enumerate(zip(self.terms, self.operands, strict=True))
            if i != position
        ]
        known = set(self.output).union(*(set(t) for t, _ in others))
        kept = "".join(letter for letter in term if letter in known)
        inputs = ",".join([self.output, *(t for t, _ in others)])
        grad = xp.einsum(f"{inputs}->{kept}", dy, *(o for _, o in others))
        spread = tuple(slice(None) if letter in known else None for letter in term)
        return xp.broadcast_to(grad[spread], operand.shape)


def _parse(equation: str, operands: tuple[Any, ...]) -> tuple[list[str], str]:
    """The letters of every operand and of the output; refuses what the backward above does not
    cover.
    """
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if "." in equation or not all(term.isalpha() or not term for term in terms):
        raise ValueError(
            f"einsum: equation must be letters, commas and '->' (no ellipsis), got {equation!r}"
        )
    if len(terms) != len(operands):
        raise ValueError(
            f"einsum: {equation!r} names {len(terms)} operands, {len(operands)} were given"
        )
    for term, operand in zip(terms, operands, strict=True):
        if len(term) != operand.ndim or len(set(term)) != len(term):
            raise ValueError(
                f"einsum: {term!r} must name each of the {operand.ndim} axes of its operand once"
            )
    if not arrow:
        output = "".join(sorted(letter for letter in set(left) - {","} if left.count(letter) == 1))
    return terms, output
