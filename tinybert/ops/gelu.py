"""The activation GELU, exact by erf, and fused with a linear layer.

The approximation by tanh is in `gelu_new.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, array_module, cpu, is_plain, kernel
from tinybert.ops.activation import activation
from tinybert.ops.arguments import as_floating
from tinybert.ops.erf import erf_forward
from tinybert.ops.gelu_new import GeluNew
from tinybert.ops.linear import Linear, linear, product_on_cpu


class Gelu(Function):
    """y = x * Phi(x), with Phi(x) = (1 + erf(x / sqrt 2)) / 2 the normal distribution function.

    Source   Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2; the exact form, BERT's "gelu"
    Oracle   torch.nn.functional.gelu(x)

    dx = dy * (Phi(x) + x * phi(x)), with phi(x) = exp(-x^2 / 2) / sqrt(2 pi) the derivative of Phi.
    Saved: that slope, computed with y while x is in the cache, not x.
    """

    half_on = "cuda"

    def forward(self, x: Any) -> Any:
        y, self.slope = gelu_forward(as_floating(x), any(self.needs_input_grad))
        return y

    def backward(self, dy: Any) -> Any:
        return dy * self.slope


@activation("gelu", "gelu_python")
def gelu(input: Any, approximate: str = "none") -> Tensor:
    """Return x * Phi(x), exact; with approximate="tanh" it is `gelu_new`."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return (Gelu if approximate == "none" else GeluNew).apply(as_tensor(input))


class LinearGelu(Linear):
    """y = gelu(x @ weight^T + bias): a linear layer and its activation in one pass over memory.

    Shapes   those of Linear
    Oracle   torch.nn.functional.gelu(torch.nn.functional.linear(x, weight, bias))

    With dz = dy * gelu'(z) at z = x @ weight^T + bias, backward is Linear's for dz. Saved: x,
    weight, and the slope gelu'(z).
    """

    slope: Any

    def product(self, rows: Any, weight: Any, bias: Any) -> Any:
        y, self.slope = linear_gelu_forward(rows, weight, bias, any(self.needs_input_grad))
        return y

    def backward(self, dy: Any) -> Any:
        return super().backward(dy.reshape(self.slope.shape) * self.slope)


def linear_gelu(input: Any, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return gelu(linear(input, weight, bias)); in one pass over memory unless in plain mode."""
    if is_plain():
        return gelu(linear(input, weight, bias))
    inputs = (as_tensor(input), weight) if bias is None else (as_tensor(input), weight, bias)
    return LinearGelu.apply(*inputs)


# --- kernels --------------------------------------------------------------------------------------


@kernel
def gelu_forward(x: Array, want_slope: bool) -> tuple[Array, Array | None]:
    """Return y = x * Phi(x) and, if requested, its slope Phi(x) + x * phi(x)."""
    cdf = (1 + erf_forward(x * math.sqrt(0.5))) * 0.5
    with np.errstate(over="ignore", under="ignore"):  # x^2 may be infinite: exp gives 0
        density = array_module(x).exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return x * cdf, (cdf + x * density if want_slope else None)


@kernel
def linear_gelu_forward(
    x: Array, weight: Array, bias: Array | None, want_slope: bool
) -> tuple[Array, Array | None]:
    """Return y = gelu(x @ weight^T + bias) for rows x (N, I), and gelu's slope if requested."""
    y = x @ weight.T
    if bias is not None:
        y += bias
    return gelu_forward(y, want_slope)


@gelu_forward.on("cpu")
def gelu_on_cpu(x: Array, want_slope: bool) -> tuple[Array, Array | None]:
    """Overwrite a copy of x in blocks."""
    y = x.copy(order="C")
    slope = _gelu_in_place_on_cpu(y.reshape(-1, 1), None, want_slope)
    return y, (slope.reshape(x.shape) if slope is not None else None)


@linear_gelu_forward.on("cpu")
def linear_gelu_on_cpu(
    x: Array, weight: Array, bias: Array | None, want_slope: bool
) -> tuple[Array, Array | None]:
    """Overwrite the product with bias and gelu block by block: one more pass over memory."""
    y = product_on_cpu(x, weight)
    return y, _gelu_in_place_on_cpu(y, bias, want_slope)


# Phi(x) = (1 + tanh(x * P(x^2))) / 2 with a polynomial P as in erf.py; with these coefficients the
# absolute error of erf is below 6e-8, the precision of x * Phi(x) in float32.
_GELU_P = (
    0.797884941459, 0.0363330845776, -3.25949798669e-05, -5.53061916143e-05,
    3.96474397318e-06, -1.32263299783e-07, 1.75616951242e-09,
)  # fmt: skip


def _gelu_in_place_on_cpu(x: Array, bias: Array | None, want_slope: bool) -> Array | None:
    """Overwrite rows x (N, F) with gelu(x + bias); return the slope of gelu if requested.

    In float32 Phi(x) = (1 + tanh(x P)) / 2 = 1 / (1 + exp(-2 x P)), which is exact in the tail too.
    """
    slope = np.empty_like(x) if want_slope else None
    factors = tuple(-2 * factor for factor in _GELU_P)

    @np.errstate(all="ignore")  # powers of a large x overflow to the right limits
    def work(block: slice) -> None:
        xs = x[block]
        if bias is not None:
            xs += bias
        scratch = np.empty_like(xs)
        if x.dtype == np.float32:
            cpu.times_polynomial(xs, factors, scratch)
            np.exp(scratch, out=scratch)
            scratch += 1
        else:
            scratch[...] = 1 + erf_forward.formula(xs * x.dtype.type(math.sqrt(0.5)))
            np.divide(2, scratch, out=scratch)
        if slope is None:
            xs /= scratch
            return
        np.divide(1, scratch, out=scratch)  # Phi(x)
        slopes = slope[block]
        np.multiply(xs, xs, out=slopes)
        slopes *= -0.5
        np.exp(slopes, out=slopes)
        slopes *= 1 / math.sqrt(2 * math.pi)
        slopes *= xs
        slopes += scratch
        xs *= scratch

    cpu.in_blocks(work, *x.shape)
    return slope
