"""The gradients of a function of Tensors, for the checks of operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinybert.autograd import Tensor

# A class like Mul, or a function of Tensors.
Operation = Callable[..., Any]


def gradients(
    operation: Operation, inputs: Mapping[str, np.ndarray], **options: Any
) -> dict[str, np.ndarray | None]:
    """Return the gradient of each named input, for a random gradient of the output.

    The gradient that comes in is random and the same for every function whose output has the same
    shape: a backward that is right for a gradient of ones only is found.
    """
    tensors = {name: Tensor(array.copy(), requires_grad=True) for name, array in inputs.items()}
    output = _call(operation)(*tensors.values(), **options)
    output.backward(np.random.default_rng(1).normal(size=output.shape))
    return {name: None if t.grad is None else t.grad.numpy() for name, t in tensors.items()}


def leaf_gradients(output: Tensor, dy: Any, *leaves: Tensor) -> tuple[np.ndarray, ...]:
    """Run backward from `output` with its gradient dy; return the gradients of the leaves."""
    output.backward(dy)
    return tuple(leaf.grad.numpy() for leaf in leaves if leaf.grad is not None)


def value(operation: Operation, *inputs: Any, **options: Any) -> np.ndarray:
    """Return the output of an operation as an array."""
    return _call(operation)(*inputs, **options).numpy()


def _call(operation: Operation) -> Callable[..., Tensor]:
    return getattr(operation, "apply", operation)
