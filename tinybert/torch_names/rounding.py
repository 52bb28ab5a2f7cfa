"""Functions that are constant between jumps: rounding and the sign."""

from __future__ import annotations

from typing import Any

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module


class Rounded(Function):
    """y = the NumPy function of that name of x. It is constant between its jumps: dx = 0.

    Oracle   torch.floor, torch.ceil, torch.round (a half to the even number), torch.sign
    """

    def forward(self, x: Any, *, function: str) -> Any:
        return x if x.dtype.kind in "biu" and function != "sign" else getattr(
            array_module(x), function
        )(x)  # fmt: skip

    def backward(self, dy: Any) -> Any:
        return array_module(dy).zeros_like(dy)


def floor(input: Any) -> Tensor:
    """Return the largest integers that are not larger."""
    return Rounded.apply(as_tensor(input), function="floor")


def ceil(input: Any) -> Tensor:
    """Return the smallest integers that are not smaller."""
    return Rounded.apply(as_tensor(input), function="ceil")


def round(input: Any) -> Tensor:
    """Return the nearest integers; a half goes to the even one."""
    return Rounded.apply(as_tensor(input), function="rint")


def sign(input: Any) -> Tensor:
    """Return -1, 0 or 1: the sign of each element."""
    return Rounded.apply(as_tensor(input), function="sign")
