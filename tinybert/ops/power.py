"""Powers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor
from tinybert.backend import array_module, is_array
from tinybert.ops.addition import Binary
from tinybert.ops.arguments import as_floating, operands


class Pow(Binary, Function):
    """y = a ** b. da = dy * b * a^(b-1), db = dy * y * log(a).

    Where b is 0, da is 0 (also at a = 0); where a is 0 and b >= 0, db is 0, the limit from above,
    as in torch.
    """

    half_on = ""

    def forward(self, a: Any, b: Any) -> Any:
        a, b = self.operands(a, b)
        if is_array(a) and a.dtype.kind in "iu" and not is_array(b) and b < 0:
            a = as_floating(a)
        self.a, self.b = a, b
        with np.errstate(divide="ignore", invalid="ignore"):
            self.y = a**b
        return self.y

    def backward(self, dy: Any) -> Any:
        a, b = self.a, self.b
        xp = array_module(dy)
        da = db = None
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.needs_input_grad[0]:
                if is_array(b):
                    slope = xp.where(
                        b == 0,
                        xp.zeros_like(self.y),
                        b * a ** xp.where(b == 0, xp.ones_like(b), b - 1),
                    )
                    da = self.operand_grad(0, dy * slope)
                else:
                    da = (
                        self.operand_grad(0, dy * (b * a ** (b - 1)))
                        if b != 0
                        else xp.zeros_like(a)
                    )
            if self.needs_input_grad[1]:
                log_a = (
                    xp.log(a)
                    if is_array(a)
                    else math.log(a)
                    if a > 0
                    else (-math.inf if a == 0 else math.nan)
                )
                still = (xp.zeros_like(self.y) + a == 0) & (b >= 0)
                db = self.operand_grad(
                    1, xp.where(still, xp.zeros_like(self.y), dy * self.y * log_a)
                )
        return da, db


def pow(input: Any, exponent: Any) -> Tensor:
    """Return input to the power of exponent."""
    return Pow.apply(*operands(input, exponent))
