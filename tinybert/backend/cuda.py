"""The kernels for CuPy: the names and signatures of `reference.py`, fused into few passes over
memory.

Elementwise formulas are written here as CuPy kernels; what works on whole rows is in `rows.cu`,
which CuPy compiles on first use and keeps in its cache. Nothing adds atomically, so that the same
input always gives the same bits. This is the only file that imports CuPy. Arrays of a GPU other
than the current one are worked on inside `with cupy.cuda.Device(index):`, as CuPy wants it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cupy
import numpy as np
from cupyx.scipy import special

Array = Any

# A generator's stream depends on how many states it has; CuPy's default differs between GPUs.
RANDOM_STATES = 1 << 16


def device_count() -> int:
    """The number of GPUs; RuntimeError where there is no working driver."""
    return cupy.cuda.runtime.getDeviceCount()


def from_host(array: np.ndarray, index: int) -> Array:
    """A copy of a NumPy array on GPU `index`."""
    with cupy.cuda.Device(index):
        return cupy.asarray(array)


def to_host(array: Array) -> np.ndarray:
    """A copy of a CuPy array on the host."""
    return cupy.asnumpy(array)


def index_of(array: Array) -> int:
    """The number of the GPU that holds `array`."""
    return array.device.id


def new_generator(seed: int | tuple[int, ...] | None) -> Any:
    """A random generator on the current GPU; the same seed gives the same stream on every GPU."""
    return cupy.random.Generator(cupy.random.Philox4x3210(seed, size=RANDOM_STATES))


# --- elementwise ----------------------------------------------------------------------------------

# What float16 is computed in; CuPy defines T for each dtype that a kernel is called with.
_WIDE = """
template <typename S> struct Widened { typedef S type; };
template <> struct Widened<float16> { typedef float type; };
"""
_W = "typedef Widened<T>::type W;"


def _elementwise(inputs: str, outputs: str, operation: str, name: str) -> Any:
    return cupy.ElementwiseKernel(
        inputs, outputs, f"{_W}\n{operation}", f"tinybert_{name}", preamble=_WIDE
    )


_gelu = _elementwise("T x", "T y", "y = T(W(x) * normcdf(W(x)));", "gelu")
_gelu_and_slope = _elementwise(
    "T x",
    "T y, T slope",
    """
    const W v = W(x), cdf = normcdf(v);
    y = T(v * cdf);
    slope = T(cdf + v * (exp(v * v * W(-0.5)) * W(0.3989422804014327)));
    """,
    "gelu_and_slope",
)
_cross_entropy_backward = _elementwise(
    "T x, int64 column, int64 target, T log_total, T scale",
    "T dx",
    "dx = T((exp(W(x) - W(log_total)) - W(column == target)) * W(scale));",
    "cross_entropy_backward",
)
_sum_of_runs = _elementwise(
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
_adam = _elementwise(
    "T grad, float64 keep, float64 decay, float64 beta1, float64 beta2, float64 rate, "
    "float64 correction, float64 eps",
    "T param, T mean, T square",
    """
    const W p = W(param) * W(keep), g = W(grad) + W(decay) * p;
    const W m = W(mean) * W(beta1) + g * W(1 - beta1);
    const W v = W(square) * W(beta2) + g * g * W(1 - beta2);
    mean = T(m);
    square = T(v);
    param = T(p - m * W(rate) / (sqrt(v) / W(correction) + W(eps)));
    """,
    "adam",
)
_sum_of_products = cupy.ReductionKernel(
    "T x, T y", "T out", "x * y", "a + b", "out = a", "0", "tinybert_sum_of_products"
)


# --- rows -----------------------------------------------------------------------------------------

_TYPES = {"e": "half", "f": "float", "d": "double"}
_ROW_KERNELS = ("softmax", "softmax_backward", "layer_norm", "layer_norm_backward", "cross_entropy")
_MOST_THREADS = 256  # as in rows.cu


@cache
def _module() -> Any:
    names = [f"{name}<{ctype}>" for name in _ROW_KERNELS for ctype in _TYPES.values()]
    return cupy.RawModule(
        code=Path(__file__).with_name("rows.cu").read_text(encoding="utf-8"),
        options=("-std=c++17",),
        name_expressions=names,
    )


@cache
def _row_kernel(name: str, dtype: str) -> Any:
    return _module().get_function(f"{name}<{_TYPES[dtype]}>")


def _on_rows(name: str, shape: tuple[int, int], *arguments: Any) -> None:
    """Run a kernel of `rows.cu`, one block a row; the first argument's dtype chooses T."""
    rows, width = shape
    if rows and width:
        threads = min(_MOST_THREADS, max(32, 1 << (width - 1).bit_length()))
        _row_kernel(name, arguments[0].dtype.char)((rows,), (threads,), arguments)


def _matrix(x: Array, dtype: Any = None) -> Array:
    """`x` as contiguous rows (N, D), its last axis kept."""
    return cupy.ascontiguousarray(x, dtype).reshape(-1, x.shape[-1])


# --- kernels, as in reference.py ------------------------------------------------------------------


def for_each(work: Callable[[Any], None], items: Sequence[Any]) -> None:
    """Call `work` on every item; each call only queues work for the GPU."""
    for item in items:
        work(item)


def attention_blocks(heads: int, size: int) -> tuple[int, int]:
    """How many queries, and how many keys, a block of attention should hold."""
    return 1024, 1024


def transposed(x: Array) -> Array:
    """x (T, D) as a new array (D, T) in C order."""
    return x.T.copy()


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """x @ weight^T + bias for rows x (N, I), weight (O, I) and bias (O,)."""
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y


def erf(x: Array) -> Array:
    """erf(x), elementwise, in the dtype of x."""
    return special.erf(x).astype(x.dtype, copy=False)


def gelu(x: Array, want_slope: bool) -> tuple[Array, Array | None]:
    """y = x * Phi(x) and, if wanted, its slope Phi(x) + x * phi(x)."""
    return _gelu_and_slope(x) if want_slope else (_gelu(x), None)


def linear_gelu(
    x: Array, weight: Array, bias: Array | None, want_slope: bool
) -> tuple[Array, Array | None]:
    """y = gelu(x @ weight^T + bias) for rows x (N, I), and gelu's slope there if wanted."""
    return gelu(linear(x, weight, bias), want_slope)


def softmax_(x: Array) -> Array:
    """Overwrite x with its softmax over the last axis and return it."""
    if x.size == 0:
        return x
    if not x.flags.c_contiguous:
        x[...] = softmax_(cupy.ascontiguousarray(x))
        return x
    rows = x.reshape(-1, x.shape[-1])
    _on_rows("softmax", rows.shape, rows, rows.shape[1])
    return x


def softmax_backward(y: Array, dy: Array) -> Array:
    """dx = y * (dy - sum(dy * y)) over the last axis."""
    dx = cupy.empty(y.shape, y.dtype)
    if y.size:
        rows = _matrix(y)
        _on_rows("softmax_backward", rows.shape, rows, _matrix(dy, y.dtype), dx, rows.shape[1])
    return dx


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array]:
    """y = x_hat * weight + bias for rows x (N, D); returns y, x_hat (N, D) and rstd (N, 1)."""
    x = cupy.ascontiguousarray(x)
    weight, bias = (cupy.ascontiguousarray(a, x.dtype) for a in (weight, bias))
    y, x_hat, rstd = cupy.empty_like(x), cupy.empty_like(x), cupy.empty((len(x), 1), x.dtype)
    _on_rows("layer_norm", x.shape, x, weight, bias, y, x_hat, rstd, x.shape[1], float(eps))
    return y, x_hat, rstd


def layer_norm_backward(
    dy: Array, x_hat: Array, rstd: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """dx, dweight, dbias of `layer_norm` for rows dy (N, D)."""
    dy, weight = (cupy.ascontiguousarray(a, x_hat.dtype) for a in (dy, weight))
    dx = cupy.empty_like(x_hat)
    _on_rows("layer_norm_backward", dy.shape, dy, x_hat, rstd, weight, dx, dy.shape[1])
    return dx, _sum_of_products(dy, x_hat, axis=0), dy.sum(axis=0)


def scatter_add_rows(values: Array, rows: Array, count: int) -> Array:
    """out (count, D) with out[rows[i]] += values[i]; values (N, D), rows (N,) may repeat.

    Sorted, equal rows are a run, and one thread an element of `out` adds up its run: in a fixed
    order and for every dtype, which atomic additions are not.
    """
    if not rows.size:
        return cupy.zeros((count, values.shape[1]), values.dtype)
    out = cupy.empty((count, values.shape[1]), values.dtype)
    rows = rows.astype(np.int64, copy=False)
    order = cupy.argsort(rows)
    starts = cupy.searchsorted(rows[order], cupy.arange(count + 1))
    return _sum_of_runs(cupy.ascontiguousarray(values), order, starts, values.shape[1], out)


def scatter_add_flat(values: Array, positions: Array, count: int) -> Array:
    """out (count,) with out[positions[i]] += values[i]; positions (N,) may repeat."""
    return scatter_add_rows(values[:, None], positions, count)[:, 0]


def cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Per row of logits (N, V): logsumexp(logits) - logits[target] (N,), and logsumexp (N, 1)."""
    logits = cupy.ascontiguousarray(logits)
    targets = cupy.ascontiguousarray(targets, np.int64)
    loss, log_total = (cupy.empty(shape, logits.dtype) for shape in (len(logits), (len(logits), 1)))
    _on_rows("cross_entropy", logits.shape, logits, targets, loss, log_total, logits.shape[1])
    return loss, log_total


def cross_entropy_backward(logits: Array, targets: Array, log_total: Array, scale: Array) -> Array:
    """dlogits = (softmax(logits) - one_hot(target)) * scale; scale (N, 1)."""
    columns = cupy.arange(logits.shape[1])[None, :]
    return _cross_entropy_backward(
        logits, columns, targets[:, None], log_total, scale.astype(logits.dtype, copy=False)
    )


def adam_(
    param: Array, grad: Array, mean: Array, square: Array, *, lr: float, beta1: float,
    beta2: float, eps: float, weight_decay: float, decoupled: bool, step: int,
) -> None:  # fmt: skip
    """One Adam (or AdamW, `decoupled`) update of the arrays in place (see `optim/adam.py`)."""
    keep = 1 - lr * weight_decay if decoupled else 1.0
    decay = 0.0 if decoupled else weight_decay
    rate, correction = lr / (1 - beta1**step), math.sqrt(1 - beta2**step)
    _adam(grad, keep, decay, beta1, beta2, rate, correction, eps, param, mean, square)
