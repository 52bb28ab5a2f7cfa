"""Gradient checkpointing: recompute in backward what forward did not save.

A model of L layers then saves the inputs of its layers and the intermediate results of one layer
at a time. The cost is a second forward pass (Chen et al. 2016, arXiv:1604.06174).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tinybert.autograd.function import Function
from tinybert.autograd.modes import enable_grad, no_grad
from tinybert.autograd.tensor import Tensor
from tinybert.backend import (
    array_module,
    device_of,
    draw_seed,
    drawing_from,
    generator,
    parse_device,
    set_generator_state,
)


def checkpoint(
    function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor, parameters: Iterable[Tensor]
) -> tuple[Tensor, ...]:
    """Return `function(*inputs)`, a tuple of Tensors, without saving its intermediate results.

    Args:
        inputs: all Tensors that need a gradient, except the parameters.
        parameters: the Tensors that `function` uses without taking them as arguments.

    In backward, `function` runs again with the same random numbers. The graph of this second run
    is freed after its own backward pass.
    """
    weights = [weight for weight in parameters if weight.requires_grad]
    return Checkpoint.apply(*inputs, *weights, function=function, weights=weights)


class Checkpoint(Function):
    """y = function(x, ...). Saved: the inputs and the state of the random generators.

    Backward runs the function again with gradients recorded, and differentiates that graph.
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
        found: dict[Tensor, Any] = {}

        def deliver(leaf: Tensor, grad: Any, fresh: bool) -> None:
            if leaf in known:  # returned, not accumulated
                found[leaf] = found[leaf] + grad if leaf in found else grad
            else:
                leaf.accumulate_grad(grad, fresh)

        known = set(leaves)
        with enable_grad(), self.rewind.again(), _as_leaves(self.weights):
            outputs = self.function(*inputs)
            if len(outputs) == 1:
                outputs[0]._backward(dy[0], False, deliver)
            else:
                pairs = zip(outputs, dy, strict=True)
                products = [(y * dy_of_y).sum() for y, dy_of_y in pairs if y.requires_grad]
                total = sum(products[1:], products[0])
                total._backward(array_module(dy[0]).ones((), total.dtype), False, deliver)
        return tuple(found.get(leaf) for leaf in leaves)


class Rewind:
    """A record of this thread's generators: `with rewind.again():` draws the same numbers.

    The numbers may be drawn in another thread, and do not change its stream. A generator that
    cannot be copied (CuPy's) is replaced by a new one, whose seed is stored.
    """

    def __init__(self, device: str) -> None:
        backend, index = parse_device(device)
        self._key, self._new = f"{backend.name}:{index}", backend.new_generator
        if backend.name != "cpu":  # its new seed comes from the CPU's generator, so this is first
            self._seed = draw_seed()
            set_generator_state({self._key: self._seed})
        self._cpu = copy.deepcopy(generator("cpu"))

    def again(self) -> AbstractContextManager[None]:
        """Return a context manager; in its block this thread draws the recorded numbers."""
        again = {"cpu:0": copy.deepcopy(self._cpu)}
        if self._key not in again:
            again[self._key] = self._new(self._seed)
        return drawing_from(again)


@contextmanager
def _as_leaves(weights: list[Tensor]) -> Iterator[None]:
    """Cut the graph behind weights that are results of operations: here it ends with them."""
    graphs = [weight.grad_fn for weight in weights]
    for weight in weights:
        weight.grad_fn = None
    try:
        yield
    finally:
        for weight, graph in zip(weights, graphs, strict=True):
            weight.grad_fn = graph
