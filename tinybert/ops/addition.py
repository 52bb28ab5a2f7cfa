"""Sums and differences; shapes broadcast as in NumPy.

Broadcasting repeats an array along some axes. Its gradient is the sum over those axes
(`unbroadcast`).
"""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor
from tinybert.backend import is_array
from tinybert.ops.arguments import operands, promote, unbroadcast


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
