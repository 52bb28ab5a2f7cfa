"""Elementwise kernels: activations, dropout, rotary positions, and the slope of cross entropy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cupy
import numpy as np
from cupyx.scipy import special

from tinybert.backend.cuda.launch import FOLDER, contiguous, elementwise

Array = Any


def erf_forward(x: Array) -> Array:
    """Call CuPy's own function."""
    return special.erf(x).astype(x.dtype, copy=False)


def gelu_forward(x: Array, want_slope: bool) -> tuple[Array, Array | None]:
    """Compute both results in one pass."""
    if not want_slope:
        return elementwise("T x", "T y", "y = T(W(x) * normcdf(W(x)));", "gelu")(x), None
    return elementwise("T x", "T y, T slope", _GELU_AND_SLOPE, "gelu_and_slope")(x)


def linear_gelu_forward(
    x: Array, weight: Array, bias: Array | None, want_slope: bool
) -> tuple[Array, Array | None]:
    """Add the bias and apply gelu in one pass over the product."""
    z = x @ weight.T
    if bias is None:
        return gelu_forward(z, want_slope)
    bias = bias.astype(z.dtype, copy=False)
    if not want_slope:
        code = "const W v = W(z) + W(bias); y = T(v * normcdf(v));"
        return elementwise("T z, T bias", "T y", code, "bias_gelu")(z, bias), None
    code = _GELU_AND_SLOPE.replace("W(x)", "W(z) + W(bias)")
    return elementwise("T z, T bias", "T y, T slope", code, "bias_gelu_and_slope")(z, bias)


_GELU_AND_SLOPE = """
    const W v = W(x), cdf = normcdf(v);
    y = T(v * cdf);
    slope = T(cdf + v * (exp(v * v * W(-0.5)) * W(0.3989422804014327)));
"""


def sigmoid_forward(x: Array) -> Array:
    """Compute 1 / (1 + exp(-x)) in one pass."""
    return elementwise("T x", "T y", "y = T(W(1) / (W(1) + exp(-W(x))));", "sigmoid")(x)


def relu2_forward(x: Array) -> tuple[Array, Array]:
    """Compute both results in one pass."""
    code = "positive = x > T(0) || x != x ? x : T(0); y = T(W(positive) * W(positive));"
    return elementwise("T x", "T y, T positive", code, "relu2")(x)


def dropout_forward(
    x: Array, p: float, scale: float, seed: Callable[[], int]
) -> tuple[Array, Array]:
    """Draw by the position of an element in the whole array, from a seed of the CPU's generator."""
    x = x if x.dtype.kind in "fc" else x.astype(np.float64)
    key, own = seed(), math.prod(x.shape[1:])
    # of the ranks that divide the array: see parallel/streams.py
    part, parts = key.share(x.ndim) if hasattr(key, "share") else (0, 1)
    tokens = getattr(key, "tokens", None) if x.ndim == 3 else None  # of all ranks
    whole = own * parts if tokens is None else own // x.shape[1] * tokens
    draw = elementwise(
        "T x, uint64 seed, float32 p, float64 scale, int64 own, int64 part, int64 whole",
        "T y, bool keep", _DROPOUT, "dropout", random_code(),
    )  # fmt: skip
    return draw(contiguous(x), np.uint64(key), np.float32(p), scale, own, part, whole)


_DROPOUT = """
    const unsigned long long at = own == whole ? i : i / own * whole + part * own + i % own;
    keep = uniform(seed, at, at >> 32, 0, 0) >= p;
    y = keep ? T(W(x) * W(scale)) : T(0);
"""


def dropout_backward(dy: Array, keep: Array, scale: float) -> Array:
    """Compute the product in one pass."""
    code = "dx = keep ? T(W(dy) * W(scale)) : T(0);"
    return elementwise("T dy, bool keep, float64 scale", "T dx", code, "dropout_backward")(
        dy, keep, scale
    )


def random_code() -> str:
    """Return the CUDA code of `uniform`."""
    return (FOLDER / "random.cuh").read_text("utf-8")


def rotated(x: Array, cos: Array, sin: Array, back: bool) -> Array:
    """Rotate in one pass: element r of a vector meets its partner, half of R further or before."""
    shape = (*x.shape[:-1], cos.shape[-1])
    cos, sin = (cupy.broadcast_to(angles, shape) for angles in (cos, sin))
    turn = elementwise(
        "raw T x, raw S cos, raw S sin, int64 size, int64 width, bool back", "T y", _ROTATED,
        "rotated",
    )  # fmt: skip
    y = cupy.empty(x.shape, x.dtype)
    return turn(x, cos, sin, x.shape[-1], shape[-1], back, y) if x.size else y


_ROTATED = """
    const ptrdiff_t feature = i % size, at = i / size * width + feature;
    if (feature >= width) {
        y = x[i];
    } else {
        const bool first = feature < width / 2;
        const ptrdiff_t step = first ? width / 2 : -width / 2;
        const W partner = W(x[i + step]) * W(back ? sin[at + step] : sin[at]);
        y = T(W(x[i]) * W(cos[at]) + (first == back ? partner : -partner));
    }
"""


def cross_entropy_backward(logits: Array, targets: Array, log_total: Array, scale: Array) -> Array:
    """Compute each element in one pass."""
    compute = elementwise(
        "T x, raw int64 targets, T log_total, T scale, int64 classes",
        "T dx",
        "dx = T((exp(W(x) - W(log_total)) - W(i % classes == targets[i / classes])) * W(scale));",
        "cross_entropy_backward",
    )
    targets = targets.astype(np.int64, copy=False)
    scale = scale.astype(logits.dtype, copy=False)
    return compute(logits, targets, log_total, scale, logits.shape[1])


KERNELS = {
    function.__name__: function
    for function in (
        erf_forward, sigmoid_forward, gelu_forward, linear_gelu_forward, relu2_forward,
        dropout_forward, dropout_backward, rotated, cross_entropy_backward,
    )
}  # fmt: skip
