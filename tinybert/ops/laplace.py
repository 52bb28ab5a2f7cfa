"""The attention function of MEGA."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import array_module
from tinybert.ops.activation import activation
from tinybert.ops.arguments import as_floating
from tinybert.ops.erf import erf_forward


class Laplace(Function):
    """y = (1 + erf((x - mu) / (sigma sqrt 2))) / 2: the attention function of MEGA.

    Source   Ma et al. 2022, arXiv:2209.10655, eq. 16, with mu = sqrt(1/2) and sigma = sqrt(1 / (4
             pi))
    Oracle   transformers' ACT2FN["laplace"]

    dx = dy * exp(-z^2 / 2) / (sigma sqrt(2 pi)), z = (x - mu) / sigma.
    """

    half_on = ""

    def forward(self, x: Any, *, mu: float, sigma: float) -> Any:
        self.z, self.sigma = (as_floating(x) - mu) / sigma, sigma
        return 0.5 * (1 + erf_forward(self.z * math.sqrt(0.5)))

    def backward(self, dy: Any) -> Any:
        with np.errstate(over="ignore", under="ignore"):  # z^2 may be infinite: exp gives 0
            bell = array_module(dy).exp(self.z * self.z * -0.5)
        return dy * (bell * (1 / (self.sigma * math.sqrt(2 * math.pi))))


@activation("laplace")
def laplace(input: Any, mu: float = 0.707107, sigma: float = 0.282095) -> Tensor:
    """Return (1 + erf((x - mu) / (sigma sqrt 2))) / 2."""
    return Laplace.apply(as_tensor(input), mu=mu, sigma=sigma)
