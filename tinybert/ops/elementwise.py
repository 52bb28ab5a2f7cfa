"""Arithmetic and other elementwise operations; shapes broadcast as in NumPy.

Broadcasting repeats an array along some axes, so its gradient is the sum over those axes
(`unbroadcast`). Gradients of complex values follow torch: dL = Re(sum conj(dz) * change of z),
which is why products take a conjugate.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.autograd import Function
from tinybert.backend import array_module, device_of, is_array, to_device
from tinybert.ops.arguments import as_floating, promote, unbroadcast


def conjugate(x: Any) -> Any:
    """The complex conjugate of a complex array, anything else as it is."""
    return x.conj() if is_array(x) and x.dtype.kind == "c" else x


class _Binary:
    """Mixin for two operands that broadcast; a Python number takes part as a constant."""

    def operands(self, a: Any, b: Any) -> tuple[Any, Any]:
        """The operands in matching dtypes, remembering what they were for `give_back`."""
        self.kinds = _shape_and_kind(a), _shape_and_kind(b)
        return promote(a, b)

    def give_back(self, position: int, grad: Any) -> Any:
        """`grad` in the shape (and, for a real operand of a complex result, the kind) of operand
        `position`.
        """
        shape, is_complex = self.kinds[position]
        if grad.dtype.kind == "c" and not is_complex:
            grad = grad.real
        return unbroadcast(grad, shape)


def _shape_and_kind(x: Any) -> tuple[tuple[int, ...], bool]:
    """The shape of an array or a number, and whether it is complex."""
    return (x.shape, x.dtype.kind == "c") if is_array(x) else ((), False)


class Add(_Binary, Function):
    """y = a + b. da = dy, db = dy."""

    def forward(self, a: Any, b: Any) -> Any:
        a, b = self.operands(a, b)
        return a + b

    def backward(self, dy: Any) -> Any:
        need_a, need_b = self.needs_input_grad
        return self.give_back(0, dy) if need_a else None, self.give_back(1, dy) if need_b else None


class Sub(_Binary, Function):
    """y = a - b. da = dy, db = -dy."""

    def forward(self, a: Any, b: Any) -> Any:
        a, b = self.operands(a, b)
        return a - b

    def backward(self, dy: Any) -> Any:
        need_a, need_b = self.needs_input_grad
        return self.give_back(0, dy) if need_a else None, self.give_back(1, -dy) if need_b else None


class Mul(_Binary, Function):
    """y = a * b. da = dy * conj(b), db = dy * conj(a)."""

    def forward(self, a: Any, b: Any) -> Any:
        a, b = self.operands(a, b)
        need_a, need_b = self.needs_input_grad or (False, False)
        self.a, self.b = a if need_b else None, b if need_a else None
        return a * b

    def backward(self, dy: Any) -> Any:
        da = self.give_back(0, dy * conjugate(self.b)) if self.needs_input_grad[0] else None
        db = self.give_back(1, dy * conjugate(self.a)) if self.needs_input_grad[1] else None
        return da, db


class Div(_Binary, Function):
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
            db = self.give_back(1, -da * conjugate(self.y)) if self.needs_input_grad[1] else None
        return self.give_back(0, da) if self.needs_input_grad[0] else None, db


class Pow(_Binary, Function):
    """y = a ** b. da = dy * b * a^(b-1), db = dy * y * log(a).

    Where b is 0, da is 0 (also at a = 0); where a is 0 and b >= 0, db is 0, the limit from above,
    as in torch.
    """

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
                    da = self.give_back(0, dy * slope)
                else:
                    da = self.give_back(0, dy * (b * a ** (b - 1))) if b != 0 else xp.zeros_like(a)
            if self.needs_input_grad[1]:
                log_a = (
                    xp.log(a)
                    if is_array(a)
                    else math.log(a)
                    if a > 0
                    else (-math.inf if a == 0 else math.nan)
                )
                still = (xp.zeros_like(self.y) + a == 0) & (b >= 0)
                db = self.give_back(1, xp.where(still, xp.zeros_like(self.y), dy * self.y * log_a))
        return da, db


class Neg(Function):
    """y = -x. dx = -dy."""

    def forward(self, x: Any) -> Any:
        return -x

    def backward(self, dy: Any) -> Any:
        return -dy


class Exp(Function):
    """y = exp(x). dx = dy * y."""

    def forward(self, x: Any) -> Any:
        self.y = array_module(x).exp(as_floating(x))
        return self.y

    def backward(self, dy: Any) -> Any:
        return dy * conjugate(self.y)


class Log(Function):
    """y = log(x), the natural logarithm. dx = dy / x."""

    def forward(self, x: Any) -> Any:
        self.x = as_floating(x)
        with np.errstate(divide="ignore", invalid="ignore"):
            return array_module(x).log(self.x)

    def backward(self, dy: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return dy / conjugate(self.x)


class Sqrt(Function):
    """y = sqrt(x). dx = dy / (2 y); infinite at 0."""

    def forward(self, x: Any) -> Any:
        with np.errstate(invalid="ignore"):
            self.y = array_module(x).sqrt(as_floating(x))
        return self.y

    def backward(self, dy: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return dy / (2 * self.y)


class Rsqrt(Function):
    """y = 1 / sqrt(x). dx = -dy * y^3 / 2."""

    def forward(self, x: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            self.y = 1 / array_module(x).sqrt(as_floating(x))
        return self.y

    def backward(self, dy: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return dy * (self.y * self.y * self.y) * -0.5


class Abs(Function):
    """y = |x|. dx = dy * sign(x); 0 at 0, one of the subgradients."""

    def forward(self, x: Any) -> Any:
        self.x = x
        return array_module(x).abs(x)

    def backward(self, dy: Any) -> Any:
        return dy * array_module(dy).sign(self.x)


class Clip(Function):
    """y = min(max(x, low), high). dx = dy where low <= x <= high, 0 elsewhere."""

    def forward(self, x: Any, *, low: float | None, high: float | None) -> Any:
        if low is None and high is None:
            raise ValueError("clip needs min or max")
        inside = array_module(x).ones(x.shape, bool)
        if low is not None:
            inside &= x >= low
        if high is not None:
            inside &= x <= high
        self.inside = inside
        return array_module(x).clip(x, low, high)

    def backward(self, dy: Any) -> Any:
        return dy * self.inside


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


class MaskedFill(Function):
    """y = value where mask, x elsewhere. dx = 0 where mask, dy elsewhere."""

    def forward(self, x: Any, mask: Any, *, value: float) -> Any:
        xp = array_module(x)
        self.mask = xp.broadcast_to(mask.astype(bool), x.shape)
        return xp.where(self.mask, xp.asarray(value, dtype=x.dtype), x)

    def backward(self, dy: Any) -> Any:
        return array_module(dy).where(self.mask, array_module(dy).zeros_like(dy), dy), None


class Cast(Function):
    """The same values in another dtype; dx = dy in the dtype of x."""

    def forward(self, x: Any, *, dtype: Any) -> Any:
        new = np.dtype(dtype)
        if new.kind not in "biufc":
            raise TypeError(f"dtype must be a numeric NumPy dtype, got {new}")
        self.dtype = x.dtype
        return x.astype(new)

    def backward(self, dy: Any) -> Any:
        return dy.astype(self.dtype)


class Clone(Function):
    """y = a copy of x in C order. dx = dy."""

    def forward(self, x: Any) -> Any:
        return x.copy(order="C")

    def backward(self, dy: Any) -> Any:
        return dy


class ToDevice(Function):
    """The same values on another device; the gradient travels back."""

    def forward(self, x: Any, *, device: str) -> Any:
        self.device = device_of(x)
        return to_device(x, device)

    def backward(self, dy: Any) -> Any:
        return to_device(dy, self.device)


class Compare(Function):
    """A comparison or a logical operation by name. The result is piecewise constant: no gradient
    flows.
    """

    def forward(self, a: Any, b: Any, *, relation: str) -> Any:
        xp = array_module(a if is_array(a) else b)
        return getattr(xp, relation)(*promote(a, b))

    def backward(self, dy: Any) -> Any:
        return None, None
