"""Sums, differences, products and quotients; shapes broadcast as in NumPy.

Broadcasting repeats an array along some axes, so its gradient is the sum over those axes
(`unbroadcast`). Gradients of complex values follow torch: dL = Re(sum conj(dz) * change of z),
which is why products take a conjugate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor
from tinybert.backend import is_array
from tinybert.ops.arguments import as_floating, conjugate, operands, promote, unbroadcast


class Binary:
    """Mixin for two operands that broadcast; a Python number takes part as a constant."""

    kinds: Any = None  # the shape of each, and whether it is complex; None if they are alike

    def operands(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Return the operands in matching dtypes; `operand_grad` needs what they were."""
        if type(a) is type(b) and is_array(a) and a.dtype is b.dtype and a.shape == b.shape:
            return a, b
        self.kinds = _shape_and_kind(a), _shape_and_kind(b)
        return promote(a, b)

    def operand_grad(self, position: int, grad: Any) -> Any:
        """Return `grad` in the shape of operand `position`, its real part for a real operand."""
        if self.kinds is None:
            return grad
        shape, is_complex = self.kinds[position]
        if grad.dtype.kind == "c" and not is_complex:
            grad = grad.real
        return unbroadcast(grad, shape)


def _shape_and_kind(x: Any) -> tuple[tuple[int, ...], bool]:
    """Return the shape of an array or a number, and whether it is complex."""
    return (x.shape, x.dtype.kind == "c") if is_array(x) else ((), False)


class Add(Binary, Function):
    """y = a + b. da = dy, db = dy."""

    def forward(self, a: Any, b: Any) -> Any:
        a, b = self.operands(a, b)
        return a + b

    def backward(self, dy: Any) -> Any:
        need_a, need_b = self.needs_input_grad
        return self.operand_grad(0, dy) if need_a else None, self.operand_grad(
            1, dy
        ) if need_b else None


def add(input: Any, other: Any) -> Tensor:
    """Return input + other."""
    return Add.apply(*operands(input, other))


class Sub(Binary, Function):
    """y = a - b. da = dy, db = -dy."""

    def forward(self, a: Any, b: Any) -> Any:
        a, b = self.operands(a, b)
        return a - b

    def backward(self, dy: Any) -> Any:
        need_a, need_b = self.needs_input_grad
        return self.operand_grad(0, dy) if need_a else None, self.operand_grad(
            1, -dy
        ) if need_b else None


def sub(input: Any, other: Any) -> Tensor:
    """Return input - other."""
    return Sub.apply(*operands(input, other))


class Mul(Binary, Function):
    """y = a * b. da = dy * conj(b), db = dy * conj(a)."""

    def forward(self, a: Any, b: Any) -> Any:
        a, b = self.operands(a, b)
        need_a, need_b = self.needs_input_grad or (False, False)
        self.a, self.b = a if need_b else None, b if need_a else None
        return a * b

    def backward(self, dy: Any) -> Any:
        da = self.operand_grad(0, dy * conjugate(self.b)) if self.needs_input_grad[0] else None
        db = self.operand_grad(1, dy * conjugate(self.a)) if self.needs_input_grad[1] else None
        return da, db


def mul(input: Any, other: Any) -> Tensor:
    """Return input * other."""
    return Mul.apply(*operands(input, other))


class Div(Binary, Function):
    """y = a / b. da = dy / conj(b), db = -dy * conj(y) / conj(b)."""

    def forward(self, a: Any, b: Any) -> Any:
        a, b = self.operands(a, b)
        if not (is_array(a) and a.dtype.kind in "fc") and not (
            is_array(b) and b.dtype.kind in "fc"
        ):
            a, b = as_floating(a), as_floating(b)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.b, self.y = b, a / b
        return self.y

    def backward(self, dy: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            da = dy / conjugate(self.b)
            db = self.operand_grad(1, -da * conjugate(self.y)) if self.needs_input_grad[1] else None
        return self.operand_grad(0, da) if self.needs_input_grad[0] else None, db


def div(input: Any, other: Any) -> Tensor:
    """Return input / other."""
    return Div.apply(*operands(input, other))
