"""Choosing between two values by a condition (where, masked_fill)."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module, is_array
from tinybert.ops.arguments import operand, promote, unbroadcast


class Where(Function):
    """y = a where condition, b elsewhere. da is dy where condition holds, db is dy elsewhere."""

    def forward(self, condition: Any, a: Any, b: Any) -> Any:
        xp = array_module(next(x for x in (condition, a, b) if is_array(x)))
        self.condition = xp.asarray(condition, dtype=bool)
        self.shapes = tuple(getattr(x, "shape", ()) for x in (a, b))
        a, b = promote(a, b)
        return xp.where(self.condition, a, b)

    def backward(self, dy: Any) -> Any:
        xp = array_module(dy)
        zero = xp.zeros_like(dy)
        _, need_a, need_b = self.needs_input_grad
        da = unbroadcast(xp.where(self.condition, dy, zero), self.shapes[0]) if need_a else None
        db = unbroadcast(xp.where(self.condition, zero, dy), self.shapes[1]) if need_b else None
        return None, da, db


def where(condition: Any, input: Any, other: Any) -> Tensor:
    """Return `input` where `condition` is true, `other` elsewhere; all broadcast."""
    like = next((x for x in (input, other, condition) if isinstance(x, Tensor)), None)
    like = as_tensor(condition) if like is None else like
    return Where.apply(*(operand(x, like) for x in (condition, input, other)))


class MaskedFill(Function):
    """y = value where mask, x elsewhere. dx = 0 where mask, dy elsewhere."""

    def forward(self, x: Any, mask: Any, *, value: float) -> Any:
        xp = array_module(x)
        self.mask = xp.broadcast_to(xp.asarray(mask, dtype=bool), x.shape)
        return xp.where(self.mask, xp.asarray(value, dtype=x.dtype), x)

    def backward(self, dy: Any) -> Any:
        return array_module(dy).where(self.mask, array_module(dy).zeros_like(dy), dy), None


def masked_fill(input: Any, mask: Any, value: float) -> Tensor:
    """Return `value` where the boolean `mask` (broadcast to input) is true, `input` elsewhere."""
    x = as_tensor(input)
    return MaskedFill.apply(x, operand(mask, x), value=value)
