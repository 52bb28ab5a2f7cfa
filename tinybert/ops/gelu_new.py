"""The activation GELU by its tanh approximation.

It differs from the exact `gelu` by up to 5e-4: a model has to use the one that it was trained with.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.activation import activation
from tinybert.ops.arguments import as_floating


class GeluNew(Function):
    """y = x / 2 * (1 + t), t = tanh(u), u = sqrt(2 / pi) * (x + 0.044715 x^3): an approximation of
    GELU.

    Source   Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2
    Oracle   torch.nn.functional.gelu(x, approximate="tanh")

    dx = dy * ((1 + t) / 2 + x / 2 * (1 - t^2) * u'), u' = sqrt(2 / pi) * (1 + 3 * 0.044715 x^2).
    """

    half_on = ""

    SCALE = math.sqrt(2 / math.pi)
    CUBE = 0.044715

    def forward(self, x: Any) -> Any:
        self.x = x = as_floating(x)
        with np.errstate(over="ignore"):  # x^3 may be infinite: tanh gives 1 or -1
            self.t = array_module(x).tanh(self.SCALE * (x + self.CUBE * (x * x * x)))
        return 0.5 * x * (1 + self.t)

    def backward(self, dy: Any) -> Any:
        x, t = self.x, self.t
        du = self.SCALE * (1 + 3 * self.CUBE * (x * x))
        return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du)


@activation("gelu_new", "gelu_accurate", "gelu_fast", "gelu_pytorch_tanh")
def gelu_new(input: Any) -> Tensor:
    """Return x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))."""
    return GeluNew.apply(as_tensor(input))
