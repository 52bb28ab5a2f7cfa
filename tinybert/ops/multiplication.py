"""Products and quotients; shapes broadcast as in NumPy.

Gradients of complex values follow torch: dL = Re(sum conj(dz) * change of z), which is why they
take a conjugate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor
from tinybert.backend import is_array
from tinybert.ops.addition import Binary
from tinybert.ops.arguments import as_floating, conjugate, operands


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

    half_on = ""

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
