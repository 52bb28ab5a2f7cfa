"""The version for CUDA of Adam's kernel."""

from __future__ import annotations

import math

from tinybert.backend import Array
from tinybert.optim.adam import adam_step


@adam_step.on("cuda")
def adam_step_on_cuda(
    param: Array, grad: Array, mean: Array, square: Array, *, lr: float, beta1: float,
    beta2: float, eps: float, weight_decay: float, decoupled: bool, step: int,
) -> None:  # fmt: skip
    """Update each element in one pass."""
    from tinybert.backend import cuda

    keep = 1 - lr * weight_decay if decoupled else 1.0
    decay = 0.0 if decoupled else weight_decay
    rate, correction = lr / (1 - beta1**step), math.sqrt(1 - beta2**step)
    update = cuda.elementwise(
        "T grad, float64 keep, float64 decay, float64 beta1, float64 beta2, float64 rate, "
        "float64 correction, float64 eps",
        "T param, T mean, T square",
        _UPDATE,
        "adam",
    )
    update(grad, keep, decay, beta1, beta2, rate, correction, eps, param, mean, square)


_UPDATE = """
    const W p = W(param) * W(keep), g = W(grad) + W(decay) * p;
    const W m = W(mean) * W(beta1) + g * W(1 - beta1);
    const W v = W(square) * W(beta2) + g * g * W(1 - beta2);
    mean = T(m);
    square = T(v);
    param = T(p - m * W(rate) / (sqrt(v) / W(correction) + W(eps)));
"""
