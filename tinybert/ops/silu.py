"""The activation SiLU, a value times its logistic function."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, cpu, kernel
from tinybert.ops.activation import activation
from tinybert.ops.arguments import as_floating
from tinybert.ops.sigmoid import sigmoid_forward


class Silu(Function):
    """y = x * s with s = sigmoid(x) (Elfwing et al. 2017, arXiv:1702.03118). dx = dy * s * (1 + x *
    (1 - s)). Saved: the factor of dy, the slope, computed with y while x is in the cache.
    """

    half_on = ""

    def forward(self, x: Any) -> Any:
        y, self.slope = silu_forward(as_floating(x), any(self.needs_input_grad))
        return y

    def backward(self, dy: Any) -> Any:
        return dy * self.slope


@activation("silu", "swish")
def silu(input: Any) -> Tensor:
    """Return x * sigmoid(x)."""
    return Silu.apply(as_tensor(input))


@kernel
def silu_forward(x: Array, want_slope: bool) -> tuple[Array, Array | None]:
    """Return y = x * sigmoid(x) and, if requested, its slope s * (1 + x * (1 - s))."""
    s = sigmoid_forward(x)
    return x * s, (s * (1 + x * (1 - s)) if want_slope else None)


@silu_forward.on("cpu")
def silu_on_cpu(x: Array, want_slope: bool) -> tuple[Array, Array | None]:
    """Compute both in blocks that stay in the cache."""
    flat = np.ascontiguousarray(x).reshape(-1)
    y = np.empty_like(flat)
    slope = np.empty_like(flat) if want_slope else None

    @np.errstate(all="ignore")
    def work(block: slice) -> None:
        xs, ys = flat[block], y[block]
        scratch = np.negative(xs)
        np.exp(scratch, out=scratch)
        scratch += 1  # 1 / s
        if slope is None:
            np.divide(1, scratch, out=scratch)
            np.multiply(xs, scratch, out=ys)  # rounded as with a slope
            return
        s = np.divide(1, scratch, out=slope[block])
        np.multiply(xs, s, out=ys)
        np.subtract(1, s, out=scratch)
        scratch *= ys
        s += scratch  # s + y * (1 - s), the slope

    cpu.in_blocks(work, flat.size, 1)
    return y.reshape(x.shape), (slope.reshape(x.shape) if slope is not None else None)
