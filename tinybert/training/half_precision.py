"""`HalfPrecision`: train in float16, with float32 weights and a scaled loss.

Source   Micikevicius et al. 2017, "Mixed Precision Training", arXiv:1710.03740, section 3
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinybert.autograd import Tensor, no_grad
from tinybert.backend import array_module
from tinybert.nn import Module

MAX_SCALE = 2.0**15  # the gradient of the loss itself, which has to be finite in float16
GROWTH_INTERVAL = 2000  # steps without overflow, after which the scale doubles


class HalfPrecision:
    """A float16 model and its weights in float32.

    float16 has 11 significant bits: an update smaller than 1/2000 of a weight would be lost.
    Therefore the optimizer updates float32 weights, and the model gets a rounded copy after each
    step. Small gradients would become zero in float16 (below 6e-8): the loss is multiplied by
    `scale` before the backward pass and the gradients are divided by it afterwards. If one of them
    overflows, the step is skipped and the scale halved; after 2,000 steps without overflow it
    doubles.

    Attributes:
        scale: the factor of the loss.
        skipped: the number of steps skipped.
    """

    def __init__(self, model: Module, scale: float = MAX_SCALE) -> None:
        self.model, self.scale, self.skipped, self.good_steps = model, scale, 0, 0
        self.weights = {
            name: Tensor(p.data.astype(np.float32), requires_grad=p.requires_grad)
            for name, p in model.named_parameters()
        }
        model.to(np.float16)

    def parameters(self) -> Iterator[Tensor]:
        """Iterate over the float32 weights, which the optimizer updates."""
        return iter(self.weights.values())

    @no_grad()
    def collect_gradients(self) -> bool:
        """Move the gradients of the model to the float32 weights.

        Returns False, and has no gradients left, if one is infinite or NaN: skip this step.
        """
        finite = True
        for name, parameter in self.model.named_parameters():
            weights, gradient = self.weights[name], parameter.grad
            parameter.grad = None
            if gradient is None:
                continue
            array = gradient.data.astype(np.float32) / self.scale
            finite = finite and bool(array_module(array).isfinite(array).all())
            weights.grad = Tensor._wrap(array)
        self.good_steps = self.good_steps + 1 if finite else 0
        if not finite:
            self.scale, self.skipped = max(self.scale / 2, 1.0), self.skipped + 1
            for weights in self.weights.values():
                weights.grad = None
        elif self.good_steps % GROWTH_INTERVAL == 0:
            self.scale = min(self.scale * 2, MAX_SCALE)
        return finite

    @no_grad()
    def copy_weights(self) -> None:
        """Round the float32 weights to the model's float16 parameters."""
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(self.weights[name].data)

    @contextmanager
    def full_precision(self) -> Iterator[None]:
        """Give the model its float32 weights inside a `with` block, to save them."""
        self.model.to(np.float32)
        with no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(self.weights[name].data)
        try:
            yield
        finally:
            self.model.to(np.float16)

    def load_weights(self, arrays: Mapping[str, Any]) -> None:
        """Set the float32 weights by name; the model has its rounded copy already. Frozen weights
        can be missing.
        """
        with no_grad():
            for name, weights in self.weights.items():
                if weights.requires_grad or name in arrays:
                    weights.copy_(arrays[name])

    def state_dict(self) -> dict[str, Any]:
        """Return the scale and its counters."""
        return {"scale": self.scale, "skipped": self.skipped, "good_steps": self.good_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with a saved scale."""
        self.scale, self.skipped = state["scale"], state["skipped"]
        self.good_steps = state["good_steps"]
