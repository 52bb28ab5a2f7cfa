"""The activations of the four families. `gelu` (erf) and `gelu_new` (tanh) are two functions, not
one with an option.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.autograd import Function
from tinybert.backend import array_module, kernels_of
from tinybert.ops.arguments import as_floating


class Tanh(Function):
    """y = tanh(x). dx = dy * (1 - y^2)."""

    def forward(self, x: Any) -> Any:
        self.y = array_module(x).tanh(as_floating(x))
        return self.y

    def backward(self, dy: Any) -> Any:
        return dy * (1 - self.y * self.y)


class Sigmoid(Function):
    """y = 1 / (1 + exp(-x)). dx = dy * y * (1 - y)."""

    def forward(self, x: Any) -> Any:
        self.y = sigmoid(as_floating(x))
        return self.y

    def backward(self, dy: Any) -> Any:
        return dy * (self.y * (1 - self.y))


class Relu(Function):
    """y = max(x, 0). dx = dy where x > 0, else 0."""

    def forward(self, x: Any) -> Any:
        self.positive = x > 0
        return array_module(x).maximum(x, 0)

    def backward(self, dy: Any) -> Any:
        return dy * self.positive


class Relu2(Function):
    """y = max(x, 0)^2 (So et al. 2021, arXiv:2109.08668; Nemotron, MEGA). dx = dy * 2 max(x, 0)."""

    def forward(self, x: Any) -> Any:
        self.positive = array_module(x).maximum(x, 0)
        return self.positive * self.positive

    def backward(self, dy: Any) -> Any:
        return dy * (2 * self.positive)


class Silu(Function):
    """y = x * s with s = sigmoid(x) (Elfwing et al. 2017, arXiv:1702.03118). dx = dy * s * (1 + x *
    (1 - s)).
    """

    def forward(self, x: Any) -> Any:
        self.x = as_floating(x)
        self.s = sigmoid(self.x)
        return self.x * self.s

    def backward(self, dy: Any) -> Any:
        return dy * (self.s * (1 + self.x * (1 - self.s)))


class Erf(Function):
    """y = erf(x). dx = dy * 2 / sqrt(pi) * exp(-x^2)."""

    def forward(self, x: Any) -> Any:
        self.x = as_floating(x)
        return kernels_of(x).erf(self.x)

    def backward(self, dy: Any) -> Any:
        return dy * (array_module(dy).exp(-self.x * self.x) * (2 / math.sqrt(math.pi)))


class Gelu(Function):
    """y = x * Phi(x), with Phi(x) = (1 + erf(x / sqrt 2)) / 2 the normal distribution function.

    Source   Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2; the exact form, BERT's "gelu"
    Oracle   torch.nn.functional.gelu(x)

    dx = dy * (Phi(x) + x * phi(x)), with phi(x) = exp(-x^2 / 2) / sqrt(2 pi) the derivative of Phi.
    Saved: that slope, computed beside y while x is in cache, not x.
    """

    def forward(self, x: Any) -> Any:
        y, self.slope = kernels_of(x).gelu(as_floating(x), any(self.needs_input_grad))
        return y

    def backward(self, dy: Any) -> Any:
        return dy * self.slope


class GeluNew(Function):
    """y = x / 2 * (1 + t), t = tanh(u), u = sqrt(2 / pi) * (x + 0.044715 x^3): an approximation of
    GELU.

    Source   Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2
    Oracle   torch.nn.functional.gelu(x, approximate="tanh")

    dx = dy * ((1 + t) / 2 + x / 2 * (1 - t^2) * u'), u' = sqrt(2 / pi) * (1 + 3 * 0.044715 x^2).
    """

    SCALE = math.sqrt(2 / math.pi)
    CUBE = 0.044715

    def forward(self, x: Any) -> Any:
        self.x = x = as_floating(x)
        self.t = array_module(x).tanh(self.SCALE * (x + self.CUBE * (x * x * x)))
        return 0.5 * x * (1 + self.t)

    def backward(self, dy: Any) -> Any:
        x, t = self.x, self.t
        du = self.SCALE * (1 + 3 * self.CUBE * (x * x))
        return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du)


class Laplace(Function):
    """y = (1 + erf((x - mu) / (sigma sqrt 2))) / 2: the attention function of MEGA.

    Source   Ma et al. 2022, arXiv:2209.10655, eq. 16, with mu = sqrt(1/2) and sigma = sqrt(1 / (4
    pi))
    Oracle   transformers' ACT2FN["laplace"]

    dx = dy * exp(-z^2 / 2) / (sigma sqrt(2 pi)), z = (x - mu) / sigma.
    """

    def forward(self, x: Any, *, mu: float, sigma: float) -> Any:
        self.z, self.sigma = (as_floating(x) - mu) / sigma, sigma
        return 0.5 * (1 + kernels_of(x).erf(self.z * math.sqrt(0.5)))

    def backward(self, dy: Any) -> Any:
        xp = array_module(dy)
        return dy * (xp.exp(self.z * self.z * -0.5) * (1 / (self.sigma * math.sqrt(2 * math.pi))))


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of an array; where exp overflows the result is 0, the right limit."""
    with np.errstate(over="ignore"):
        return 1 / (1 + array_module(x).exp(-x))
