"""Gradient checkpointing: compute again in backward what forward did not keep.

Source: Chen et al. 2016, arXiv:1604.06174. A model of L layers keeps the inputs of its layers and
the inner results of one layer at a time, for the price of a second forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tinybert.autograd.function import Function
from tinybert.autograd.modes import enable_grad, no_grad
from tinybert.autograd.tensor import Tensor
from tinybert.backend import Rewind, device_of


def checkpoint(
    function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor, parameters: Iterable[Tensor]
) -> tuple[Tensor, ...]:
    """`function(*inputs)`, a tuple of Tensors, without keeping what leads to it.

    Args:
        inputs: all Tensors that a gradient shall flow back to, but for
        parameters: those that `function` itself uses.

    In backward `function` runs again, with the same random numbers, and its graph lives as long as
    its own backward takes.
    """
    weights = [weight for weight in parameters if weight.requires_grad]
    return Checkpoint.apply(*inputs, *weights, function=function, weights=weights)


class Checkpoint(Function):
    """y = function(x, ...): saved are the inputs and the state of the random generators.

    dx and the weights' gradients are those of the graph that a second run of the function builds.
    """

    def forward(self, *arrays: Any, function: Any, weights: list[Tensor]) -> Any:
        self.function, self.weights, self.arrays = function, weights, arrays
        self.rewind = Rewind(device_of(arrays[0]))
        inputs = arrays[: len(arrays) - len(weights)]
        with no_grad():
            return tuple(y.data for y in function(*(Tensor._wrap(x) for x in inputs)))

    def backward(self, *dy: Any) -> Any:
        count = len(self.arrays) - len(self.weights)
        inputs = [Tensor._wrap(x) for x in self.arrays[:count]]
        for x, needed in zip(inputs, self.needs_input_grad[:count], strict=True):
            x.requires_grad = needed
        leaves = [*inputs, *self.weights]
        # The weights' gradients are handed on, so what they have collected so far is put aside.
        collected = [leaf.grad for leaf in leaves]
        try:
            for leaf in leaves:
                leaf.grad = None
            with enable_grad(), self.rewind:
                outputs = self.function(*inputs)
                if len(outputs) == 1:
                    outputs[0].backward(dy[0])
                else:
                    products = [
                        (y * dy_of_y).sum()
                        for y, dy_of_y in zip(outputs, dy, strict=True)
                        if y.requires_grad
                    ]
                    sum(products[1:], products[0]).backward()
            return tuple(None if leaf.grad is None else leaf.grad.data for leaf in leaves)
        finally:
            for leaf, grad in zip(leaves, collected, strict=True):
                leaf.grad = grad
