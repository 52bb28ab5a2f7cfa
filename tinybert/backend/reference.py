"""Every kernel as its plain formula, for any array module: the definition that the fast versions
are tested against.

`cpu.py` (NumPy, blocked and threaded) and `cuda.py` (CuPy, fused) offer the same names with the
same signatures. The strict array double of the tests runs the engine on these.
"""

from __future__ import annotations

import math
from typing import Any

from tinybert.backend.erf import erf_float64


class Reference:
    """The plain kernels over one array module `xp`."""

    def __init__(self, xp: Any, new_generator: Any) -> None:
        self.xp = xp
        self.new_generator = new_generator

    def for_each(self, work: Any, items: Any) -> None:
        """Call `work` on every item."""
        for item in items:
            work(item)

    def attention_blocks(self, heads: int, size: int) -> tuple[int, int]:
        """How many queries, and how many keys, a block of attention should hold."""
        return 256, 256

    def transposed(self, x: Any) -> Any:
        """x (T, D) as a new array (D, T) in C order."""
        return x.T.copy()

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        """x @ weight^T + bias for rows x (N, I), weight (O, I) and bias (O,) or None."""
        y = x @ weight.T
        return y if bias is None else y + bias

    def erf(self, x: Any) -> Any:
        """erf(x) = 2/sqrt(pi) * integral from 0 to x of exp(-t^2) dt."""
        return erf_float64(x.astype(self.xp.float64), self.xp).astype(x.dtype)

    def gelu(self, x: Any, want_slope: bool) -> tuple[Any, Any]:
        """y = x * Phi(x) and, if wanted, its slope Phi(x) + x * phi(x); Phi and phi are the normal
        cdf and density.
        """
        cdf = (1 + self.erf(x * math.sqrt(0.5))) * 0.5
        density = self.xp.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
        return x * cdf, (cdf + x * density if want_slope else None)

    def linear_gelu(self, x: Any, weight: Any, bias: Any, want_slope: bool) -> tuple[Any, Any]:
        """y = gelu(x @ weight^T + bias) for rows x (N, I), and gelu's slope there if wanted."""
        return self.gelu(self.linear(x, weight, bias), want_slope)

    def softmax_(self, x: Any) -> Any:
        """Overwrite x with exp(x - max) / sum exp(x - max) over the last axis and return it."""
        if x.shape[-1] == 0:
            return x
        x -= x.max(axis=-1, keepdims=True)
        self.xp.exp(x, out=x)
        x /= x.sum(axis=-1, keepdims=True)
        return x

    def softmax_backward(self, y: Any, dy: Any) -> Any:
        """dx = y * (dy - sum(dy * y)) over the last axis."""
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))

    def layer_norm(self, x: Any, weight: Any, bias: Any, eps: float) -> tuple[Any, Any, Any]:
        """y = x_hat * weight + bias for rows x (N, D); returns y, x_hat (N, D) and rstd (N, 1)."""
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred * centred).mean(axis=-1, keepdims=True)
        rstd = 1 / self.xp.sqrt(variance + eps)
        x_hat = centred * rstd
        return x_hat * weight + bias, x_hat, rstd

    def layer_norm_backward(
        self, dy: Any, x_hat: Any, rstd: Any, weight: Any
    ) -> tuple[Any, Any, Any]:
        """dx, dweight, dbias of `layer_norm` for rows dy (N, D)."""
        dx_hat = dy * weight
        mean = dx_hat.mean(axis=-1, keepdims=True)
        slope = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
        return rstd * (dx_hat - mean - x_hat * slope), (dy * x_hat).sum(axis=0), dy.sum(axis=0)

    def scatter_add_rows(self, values: Any, rows: Any, count: int) -> Any:
        """out (count, D) with out[rows[i]] += values[i]; values (N, D), rows (N,) may repeat."""
        one_hot = (rows[:, None] == self.xp.arange(count)[None, :]).astype(
            values.dtype
        )  # (N, count)
        return one_hot.T @ values

    def scatter_add_flat(self, values: Any, positions: Any, count: int) -> Any:
        """out (count,) with out[positions[i]] += values[i]; positions (N,) may repeat."""
        return self.scatter_add_rows(values[:, None], positions, count)[:, 0]

    def cross_entropy(self, logits: Any, targets: Any) -> tuple[Any, Any]:
        """For logits (N, V): logsumexp(logits) - logits[target] (N,), and logsumexp (N, 1)."""
        top = logits.max(axis=-1, keepdims=True)
        log_sum = self.xp.log(self.xp.exp(logits - top).sum(axis=-1, keepdims=True))
        picked = self.xp.take_along_axis(logits - top, targets[:, None], axis=-1)
        return (log_sum - picked)[:, 0], log_sum + top

    def cross_entropy_backward(self, logits: Any, targets: Any, log_total: Any, scale: Any) -> Any:
        """dlogits = (softmax(logits) - one_hot(target)) * scale; scale (N, 1)."""
        dlogits = self.xp.exp(logits - log_total)
        hit = self.xp.arange(logits.shape[-1])[None, :] == targets[:, None]
        return (dlogits - hit.astype(logits.dtype)) * scale

    def adam_(
        self, param: Any, grad: Any, mean: Any, square: Any, *, lr: float, beta1: float,
        beta2: float, eps: float, weight_decay: float, decoupled: bool, step: int,
    ) -> None:  # fmt: skip
        """One Adam (or AdamW, `decoupled`) update of the arrays in place (see `optim/adam.py`)."""
        if weight_decay and decoupled:
            param *= 1 - lr * weight_decay
        elif weight_decay:
            grad = grad + param * weight_decay
        mean *= beta1
        mean += grad * (1 - beta1)
        square *= beta2
        square += grad * grad * (1 - beta2)
        correction = math.sqrt(1 - beta2**step)
        param -= mean * (lr / (1 - beta1**step)) / (self.xp.sqrt(square) / correction + eps)
