"""Concatenating tensors along an axis, or stacking them along a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor
from tinybert.autograd.keywords import torch_keywords
from tinybert.backend import array_module
from tinybert.ops.arguments import normal_axis, several
from tinybert.ops.split import cut


class Concat(Function):
    """Arrays joined along an axis that they have; all other axes agree.

    Each dx is the part of dy that its x became.   Oracle   torch.cat
    """

    def forward(self, *xs: Any, axis: int) -> Any:
        if not xs:
            raise ValueError("concat needs at least one tensor")
        if xs[0].ndim == 0:
            raise ValueError("concat: tensors without axes cannot be joined; use stack")
        self.axis = normal_axis(axis, xs[0].ndim)
        for position, x in enumerate(xs):
            _check_alike("concat", position, x.shape, xs[0].shape, but=self.axis)
        self.sizes = tuple(x.shape[self.axis] for x in xs)
        self.dtypes = tuple(x.dtype for x in xs)
        return array_module(xs[0]).concatenate(_in_one_dtype(xs), axis=self.axis)

    def backward(self, *dy: Any) -> Any:
        pieces = cut(dy[0], self.sizes, self.axis)
        return tuple(
            _converted(piece, dtype) if need else None
            for piece, dtype, need in zip(pieces, self.dtypes, self.needs_input_grad, strict=True)
        )


@torch_keywords(dim="axis")
def concat(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Return tensors joined along an axis that they have."""
    return Concat.apply(*several(tensors), axis=axis)


class Stack(Function):
    """Arrays of one shape joined along a new axis.

    The dx of input i is slice i of dy.   Oracle   torch.stack
    """

    def forward(self, *xs: Any, axis: int) -> Any:
        if not xs:
            raise ValueError("stack needs at least one tensor")
        self.axis = normal_axis(axis, xs[0].ndim + 1)
        for position, x in enumerate(xs):
            _check_alike("stack", position, x.shape, xs[0].shape)
        self.dtypes = tuple(x.dtype for x in xs)
        return array_module(xs[0]).stack(_in_one_dtype(xs), axis=self.axis)

    def backward(self, *dy: Any) -> Any:
        front = (slice(None),) * self.axis
        return tuple(
            _converted(dy[0][(*front, i, ...)], dtype) if need else None
            for i, (dtype, need) in enumerate(zip(self.dtypes, self.needs_input_grad, strict=True))
        )


@torch_keywords(dim="axis")
def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Return tensors of one shape joined along a new axis."""
    return Stack.apply(*several(tensors), axis=axis)


def _check_alike(
    name: str, position: int, shape: tuple[int, ...], first: tuple[int, ...], but: int = -1
) -> None:
    """Raise unless `shape` is `first`, on all axes except `but`, naming the axis that differs."""
    if len(shape) != len(first):
        raise ValueError(
            f"{name}: tensor {position} has shape {shape}, the first has {first}: all need the "
            "same number of axes"
        )
    for axis, (size, expected) in enumerate(zip(shape, first, strict=True)):
        if size != expected and axis != but:
            raise ValueError(
                f"{name}: tensor {position} has size {size} on axis {axis} (shape {shape}), the "
                f"first has {expected} (shape {first})"
            )


def _in_one_dtype(xs: tuple[Any, ...]) -> list[Any]:
    """Return arrays in their common dtype; floats decide it: integers do not widen float32."""
    dtypes = {x.dtype for x in xs}
    floating = [dtype for dtype in dtypes if dtype.kind in "fc"]
    common = np.result_type(*(floating or dtypes))
    return [x.astype(common, copy=False) for x in xs]


def _converted(grad: Any, dtype: Any) -> Any:
    """Return `grad` in the dtype of its input: the real part for a real one."""
    real = grad.real if grad.dtype.kind == "c" and dtype.kind != "c" else grad
    return real.astype(dtype, copy=False)
