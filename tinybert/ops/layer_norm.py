"""Layer normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinybert.autograd import Function, Tensor, as_tensor
from tinybert.backend import Array, array_module, backend_of, cpu, kernel
from tinybert.ops.arguments import as_floating, check_shape, converted, trailing_shape, widened


class LayerNorm(Function):
    """Bring every feature vector to mean 0 and variance 1, then scale and shift it.

        x_hat = (x - mean(x)) / sqrt(var(x) + eps)          y = x_hat * weight + bias

    Shapes   x, y (..., D)   weight, bias (D,); D may be several trailing axes
    Source   Ba, Kiros & Hinton 2016, arXiv:1607.06450, eq. 3-4
    Oracle   torch.nn.functional.layer_norm: biased variance, eps inside the root

    Backward, with rstd = 1 / sqrt(var + eps) and dx_hat = dy * weight:

        dbias = sum dy      dweight = sum dy * x_hat      (over all rows)
        dx = rstd * (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat))

    The two means are the paths through mean(x) and var(x): shifting or stretching all of x leaves
    x_hat unchanged, and these two directions are removed from dx_hat. Saved: x_hat and rstd, not x.
    float16 is computed in float32, on a GPU inside the kernel. The factor is weight + `plus`.
    """

    def forward(self, x: Any, weight: Any, bias: Any, *, eps: float, plus: float = 0) -> Any:
        if x.shape[x.ndim - weight.ndim :] != weight.shape:
            raise ValueError(
                f"layer_norm: x of shape {x.shape} must end in the normalised shape {weight.shape}"
            )
        x, self.shape, self.weight_shape = as_floating(x), x.shape, weight.shape
        self.plus = (plus,) if plus else ()
        wide = x if backend_of(x).name == "cuda" else widened(x)
        rows = wide.reshape(math.prod(x.shape[: x.ndim - weight.ndim]), weight.size)
        self.weight = weight.reshape(-1).astype(rows.dtype, copy=False)
        shift = array_module(x).zeros_like(self.weight) if bias is None else bias.reshape(-1)
        shift = shift.astype(rows.dtype, copy=False)
        y, self.x_hat, self.rstd = layer_norm_forward(rows, self.weight, shift, eps, *self.plus)
        return converted(y.reshape(x.shape), x.dtype)

    def backward(self, dy: Any) -> Any:
        rows = dy.reshape(self.x_hat.shape).astype(self.x_hat.dtype, copy=False)
        saved = self.x_hat, self.rstd, self.weight, *self.plus
        dx, dweight, dbias = layer_norm_backward(rows, *saved)
        need = self.needs_input_grad
        if len(self.weight_shape) > 1:
            dweight, dbias = (x.reshape(self.weight_shape) for x in (dweight, dbias))
        return dx.reshape(self.shape), dweight if need[1] else None, dbias if need[2] else None


def layer_norm(
    input: Any,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    plus: float = 0,
) -> Tensor:
    """Return input with its last axes brought to mean 0 and variance 1.

    They have the sizes `normalized_shape`; they are then scaled by `weight` + `plus` and
    shifted by `bias`.
    """
    x = as_tensor(input)
    shape = trailing_shape("layer_norm", x, normalized_shape, weight)
    check_shape("layer_norm", "bias", bias, shape)
    if weight is None:
        weight = as_tensor(array_module(x.data).ones(shape, x.dtype))
    return LayerNorm.apply(x, weight, bias, eps=eps, **({"plus": plus} if plus else {}))


# --- kernels --------------------------------------------------------------------------------------


@kernel
def layer_norm_forward(
    x: Array, weight: Array, bias: Array, eps: float, plus: float = 0
) -> tuple[Array, Array, Array]:
    """Return y = x_hat * weight + bias for rows x (N, D), x_hat (N, D) and rstd (N, 1).

    The factor is weight + plus.
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    rstd = 1 / array_module(x).sqrt(variance + eps)
    x_hat = centred * rstd
    return x_hat * (weight + plus if plus else weight) + bias, x_hat, rstd


@kernel
def layer_norm_backward(
    dy: Array, x_hat: Array, rstd: Array, weight: Array, plus: float = 0
) -> tuple[Array, Array, Array]:
    """Return dx, dweight and dbias for rows dy (N, D)."""
    dx_hat = dy * (weight + plus if plus else weight)
    mean = dx_hat.mean(axis=-1, keepdims=True)
    slope = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
    return rstd * (dx_hat - mean - x_hat * slope), (dy * x_hat).sum(axis=0), dy.sum(axis=0)


@layer_norm_forward.on("cpu")
def layer_norm_on_cpu(
    x: Array, weight: Array, bias: Array, eps: float, plus: float = 0
) -> tuple[Array, Array, Array]:
    """Do every step on a block of rows while it is in the cache."""
    weight = weight + plus if plus else weight
    x_hat, y = np.empty_like(x, order="C"), np.empty_like(x, order="C")
    rstd = np.empty((x.shape[0], 1), x.dtype)
    width, ones = x.shape[1], np.ones(x.shape[1], x.dtype)

    def work(block: slice) -> None:
        xs, centred, ys, scale = x[block], x_hat[block], y[block], rstd[block]
        np.vecdot(xs, ones, out=scale[:, 0])  # twice as fast as `sum`, and as accurate
        scale /= width  # mean
        np.subtract(xs, scale, out=centred)
        scale[:, 0] = 1 / np.sqrt(np.vecdot(centred, centred).astype(float) / width + eps)
        centred *= scale
        np.multiply(centred, weight, out=ys)
        ys += bias

    cpu.in_blocks(work, *x.shape)
    return y, x_hat, rstd


@layer_norm_backward.on("cpu")
def layer_norm_backward_on_cpu(
    dy: Array, x_hat: Array, rstd: Array, weight: Array, plus: float = 0
) -> tuple[Array, Array, Array]:
    """Do every step on a block of rows while it is in the cache; the sums of blocks are added."""
    weight = weight + plus if plus else weight
    dx = np.empty_like(x_hat)
    sums = {0: np.zeros((2, *weight.shape), x_hat.dtype)}  # first row: dweight and dbias

    def work(block: slice) -> None:
        dys, hats, out = dy[block], x_hat[block], dx[block]
        scratch = dys * hats
        sums[block.start] = np.stack([np.ones(len(dys), dys.dtype) @ a for a in (scratch, dys)])
        slope, mean = (np.vecdot(a, weight)[:, None] / len(weight) for a in (scratch, dys))
        np.multiply(dys, weight, out=out)  # dx_hat
        out -= mean
        np.multiply(hats, slope, out=scratch)
        out -= scratch
        out *= rstd[block]

    cpu.in_blocks(work, *x_hat.shape)
    dweight, dbias = np.sum([sums[start] for start in sorted(sums)], axis=0)
    return dx, dweight, dbias
