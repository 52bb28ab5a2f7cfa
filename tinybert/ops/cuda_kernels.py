"""The kernels' versions for CUDA, each registered with the formula of its operation.

They run where an operation gets CuPy arrays. `tinybert.backend.cuda` compiles and launches them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert.backend import Array, array_module
from tinybert.ops.cross_entropy import cross_entropy_backward, cross_entropy_forward
from tinybert.ops.erf import erf_forward
from tinybert.ops.gelu import gelu_forward
from tinybert.ops.layer_norm import layer_norm_backward, layer_norm_forward
from tinybert.ops.linear import linear_forward
from tinybert.ops.scatter import scatter_sum
from tinybert.ops.softmax import softmax_backward, softmax_forward


@linear_forward.on("cuda")
def linear_on_cuda(x: Array, weight: Array, bias: Array | None) -> Array:
    """Add the bias to the product in place."""
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y


@erf_forward.on("cuda")
def erf_on_cuda(x: Array) -> Array:
    """Call CuPy's own function."""
    from tinybert.backend import cuda

    return cuda.erf(x)


@gelu_forward.on("cuda")
def gelu_on_cuda(x: Array, want_slope: bool) -> tuple[Array, Array | None]:
    """Compute both results in one pass."""
    from tinybert.backend import cuda

    if not want_slope:
        return cuda.elementwise("T x", "T y", "y = T(W(x) * normcdf(W(x)));", "gelu")(x), None
    return cuda.elementwise("T x", "T y, T slope", _GELU_AND_SLOPE, "gelu_and_slope")(x)


_GELU_AND_SLOPE = """
    const W v = W(x), cdf = normcdf(v);
    y = T(v * cdf);
    slope = T(cdf + v * (exp(v * v * W(-0.5)) * W(0.3989422804014327)));
"""


@softmax_forward.on("cuda")
def softmax_on_cuda(x: Array) -> Array:
    """Run the kernel of rows.cu, one block of threads for each row."""
    from tinybert.backend import cuda

    y = x.copy(order="C")
    if y.size:
        rows = y.reshape(-1, y.shape[-1])
        cuda.on_rows("softmax", rows.shape, rows, rows.shape[1])
    return y


@softmax_backward.on("cuda")
def softmax_backward_on_cuda(y: Array, dy: Array) -> Array:
    """Run the kernel of rows.cu, one block of threads for each row."""
    from tinybert.backend import cuda

    dx = array_module(y).empty(y.shape, y.dtype)
    if y.size:
        rows = cuda.matrix(y)
        dys = cuda.matrix(dy, y.dtype)
        cuda.on_rows("softmax_backward", rows.shape, rows, dys, dx, rows.shape[1])
    return dx


@layer_norm_forward.on("cuda")
def layer_norm_on_cuda(
    x: Array, weight: Array, bias: Array, eps: float
) -> tuple[Array, Array, Array]:
    """Run the kernel of rows.cu, one block of threads for each row."""
    from tinybert.backend import cuda

    xp = array_module(x)
    x = xp.ascontiguousarray(x)
    weight, bias = (xp.ascontiguousarray(a, x.dtype) for a in (weight, bias))
    y, x_hat, rstd = xp.empty_like(x), xp.empty_like(x), xp.empty((len(x), 1), x.dtype)
    cuda.on_rows("layer_norm", x.shape, x, weight, bias, y, x_hat, rstd, x.shape[1], float(eps))
    return y, x_hat, rstd


@layer_norm_backward.on("cuda")
def layer_norm_backward_on_cuda(
    dy: Array, x_hat: Array, rstd: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """Run the kernel of rows.cu, one block of threads for each row."""
    from tinybert.backend import cuda

    xp = array_module(dy)
    dy, weight = (xp.ascontiguousarray(a, x_hat.dtype) for a in (dy, weight))
    dx = xp.empty_like(x_hat)
    cuda.on_rows("layer_norm_backward", dy.shape, dy, x_hat, rstd, weight, dx, dy.shape[1])
    return dx, cuda.sum_of_products(dy, x_hat, axis=0), dy.sum(axis=0)


@cross_entropy_forward.on("cuda")
def cross_entropy_on_cuda(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Run the kernel of rows.cu, one block of threads for each row."""
    from tinybert.backend import cuda

    xp = array_module(logits)
    logits = xp.ascontiguousarray(logits)
    targets = xp.ascontiguousarray(targets, np.int64)
    loss, log_total = (xp.empty(shape, logits.dtype) for shape in (len(logits), (len(logits), 1)))
    cuda.on_rows("cross_entropy", logits.shape, logits, targets, loss, log_total, logits.shape[1])
    return loss, log_total


@cross_entropy_backward.on("cuda")
def cross_entropy_backward_on_cuda(
    logits: Array, targets: Array, log_total: Array, scale: Array
) -> Array:
    """Compute each element in one pass."""
    from tinybert.backend import cuda

    columns = array_module(logits).arange(logits.shape[1])[None, :]
    compute = cuda.elementwise(
        "T x, int64 column, int64 target, T log_total, T scale",
        "T dx",
        "dx = T((exp(W(x) - W(log_total)) - W(column == target)) * W(scale));",
        "cross_entropy_backward",
    )
    return compute(
        logits, columns, targets[:, None], log_total, scale.astype(logits.dtype, copy=False)
    )


@scatter_sum.on("cuda")
def scatter_sum_on_cuda(values: Array, positions: Array, count: int) -> Array:
    """Sort the positions; one thread adds each run of equal ones, for each element of a row.

    The order of the additions is fixed, and every dtype works; neither holds for atomic additions.
    """
    if values.dtype.kind == "c":
        real, imaginary = (scatter_sum(v, positions, count) for v in (values.real, values.imag))
        return real + 1j * imaginary
    if values.ndim == 1:
        return scatter_sum(values[:, None], positions, count)[:, 0]
    from tinybert.backend import cuda

    xp = array_module(values)
    if not positions.size:
        return xp.zeros((count, values.shape[1]), values.dtype)
    out = xp.empty((count, values.shape[1]), values.dtype)
    positions = positions.astype(np.int64, copy=False)
    order = xp.argsort(positions)
    starts = xp.searchsorted(positions[order], xp.arange(count + 1))
    sum_of_runs: Any = cuda.elementwise(
        "raw T values, raw int64 order, raw int64 starts, int64 width",
        "T out",
        """
    const ptrdiff_t row = i / width, column = i % width;
    W total = W(0);
    for (ptrdiff_t k = starts[row]; k < starts[row + 1]; ++k)
        total += W(values[order[k] * width + column]);
    out = T(total);
    """,
        "sum_of_runs",
    )
    return sum_of_runs(xp.ascontiguousarray(values), order, starts, values.shape[1], out)
