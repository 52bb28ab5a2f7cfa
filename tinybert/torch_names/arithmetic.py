"""Sums, differences, quotients and products with the options that torch has for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Function, Tensor
from tinybert.backend import array_module, is_array
from tinybert.ops.addition import Binary
from tinybert.ops.arguments import (
    conjugate,
    converted,
    normal_axes,
    operands,
    result_dtype,
    sum_dtype,
)
from tinybert.ops.copies import to
from tinybert.ops.reductions import spread


class AddScaled(Binary, Function):
    """y = a + alpha b, or a - alpha b. da = dy, db = alpha dy, or -alpha dy.

    Integers need an integer alpha, real numbers a real one.   Oracle   torch.add, torch.sub
    """

    def forward(self, a: Any, b: Any, *, alpha: Any, subtract: bool) -> Any:
        a, b = self.operands(a, b)
        if is_array(a) and is_array(b):
            b = b.astype(np.result_type(a.dtype, b.dtype), copy=False)
        if isinstance(alpha, float) and _are_integers(a, b):
            raise TypeError(f"alpha must be an integer for integer tensors, got {alpha}")
        if isinstance(alpha, complex) and "c" not in _kinds(a, b):
            raise TypeError(f"alpha must be real for real tensors, got {alpha}")
        self.factor = -alpha if subtract else alpha
        return a - b * alpha if subtract else a + b * alpha

    def backward(self, dy: Any) -> Any:
        need_a, need_b = self.needs_input_grad
        db = self.operand_grad(1, dy * conjugate(self.factor)) if need_b else None
        return self.operand_grad(0, dy) if need_a else None, db


def add(input: Any, other: Any, *, alpha: complex = 1) -> Tensor:
    """Return input + alpha * other."""
    return F.add(input, other) if alpha == 1 else _scaled(input, other, alpha, subtract=False)


def sub(input: Any, other: Any, *, alpha: complex = 1) -> Tensor:
    """Return input - alpha * other."""
    return F.sub(input, other) if alpha == 1 else _scaled(input, other, alpha, subtract=True)


def _scaled(input: Any, other: Any, alpha: Any, subtract: bool) -> Tensor:
    if not isinstance(alpha, (int, float, complex, np.number)):
        raise TypeError(f"alpha must be a number, got {type(alpha).__name__}")
    number = alpha.item() if isinstance(alpha, np.number) else alpha
    return AddScaled.apply(*operands(input, other), alpha=number, subtract=subtract)


class RoundedDiv(Binary, Function):
    """y = a / b, rounded down ("floor") or towards 0 ("trunc"); integers stay integers.

    y is constant between its jumps: da = db = 0.   Oracle   torch.div
    """

    half_on = ""

    def forward(self, a: Any, b: Any, *, rounding_mode: str) -> Any:
        a, b = self.operands(a, b)
        xp = array_module(a if is_array(a) else b)
        whole = _are_integers(a, b)
        if whole and not xp.all(xp.asarray(b)):
            raise ZeroDivisionError("div: an integer is divided by 0")
        with np.errstate(divide="ignore", invalid="ignore"):
            if not whole and rounding_mode == "trunc":
                return xp.trunc(a / b)
            y = xp.floor_divide(a, b)
        if rounding_mode == "trunc":  # a negative quotient with a remainder was rounded down
            y += (y < 0) & (y * b != a)
        return y

    def backward(self, dy: Any) -> Any:
        zero = array_module(dy).zeros_like(dy)
        return tuple(
            self.operand_grad(position, zero) if needed else None
            for position, needed in enumerate(self.needs_input_grad)
        )


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """Return input / other; `rounding_mode` "floor" rounds it down, "trunc" towards 0.

    Rounded quotients of integers are integers; ZeroDivisionError if one is divided by 0.
    """
    if rounding_mode is None:
        return F.div(input, other)
    if rounding_mode not in ("floor", "trunc"):
        raise ValueError(f"rounding_mode must be None, 'floor' or 'trunc', got {rounding_mode!r}")
    return RoundedDiv.apply(*operands(input, other), rounding_mode=rounding_mode)


def _are_integers(*values: Any) -> bool:
    return set(_kinds(*values)) <= set("biu")


def _kinds(*values: Any) -> list[str]:
    """Return the kind of the dtype of each array or number: "f" for float32 and Python floats."""
    return [x.dtype.kind if is_array(x) else np.dtype(type(x)).kind for x in values]


class Prod(Function):
    """y = product of x over some axes. dx_i = dy * product of all x_j with j != i.

    That is y / x_i if no x is 0. With one 0 only its own gradient is not 0, with two none is.
    Oracle   torch.prod
    """

    def forward(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        self.x, self.axes = x, normal_axes(axis, x.ndim)
        total = x.prod(axis=self.axes, keepdims=keepdims, dtype=sum_dtype(x))
        return converted(total, result_dtype(x))

    def backward(self, dy: Any) -> Any:
        xp, x = array_module(dy), self.x
        zero = x == 0
        count = zero.sum(axis=self.axes, keepdims=True)
        others = xp.where(zero, xp.ones_like(x), x)
        product = others.prod(axis=self.axes, keepdims=True, dtype=sum_dtype(x))
        part = xp.where(count - zero == 0, product / others, 0)  # no other x is 0
        return converted(spread(xp, dy, self.axes, x.shape) * conjugate(part), dy.dtype)


def prod(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the product over `dim`; `dtype`, if given, is that of the factors and the result."""
    return to(Prod.apply(to(input, dtype=dtype), axis=dim, keepdims=keepdim), dtype=dtype)
