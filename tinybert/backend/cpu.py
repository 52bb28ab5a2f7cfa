"""The hot kernels for NumPy: large arrays are walked in blocks that fit the cache, over the
machine's cores.

A NumPy expression such as `x * 0.5 * (1 + t)` reads and writes main memory once an operation. Here
each block of rows stays in cache while every step writes into the same buffer (`out=`), and blocks
run on a small thread pool, since NumPy releases the interpreter's lock while it computes. The plain
formulas are in `reference.py`, and a test holds both together.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from tinybert.backend.erf import erf_float64

Array = Any

# Elements that a thread works on at once: a few float32 blocks of this size fit a core's cache.
BLOCK = 1 << 17
# Arrays with fewer elements than this are not worth waking a second thread.
PARALLEL_FROM = 1 << 17


def new_generator(seed: int | tuple[int, ...] | None) -> np.random.Generator:
    """A random generator; the same seed gives the same stream on every machine."""
    return np.random.Generator(np.random.SFC64(seed))


def thread_count() -> int:
    """How many threads share work: `OMP_NUM_THREADS`, or one a processor that we may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=1)
def _pool() -> tuple[ThreadPoolExecutor, int]:
    """The threads that share blocked work, and how many."""
    threads = thread_count()
    return ThreadPoolExecutor(threads, thread_name_prefix="tinybert"), threads


_worker = threading.local()  # `_worker.busy` is set on a thread that already runs one share of work


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def in_blocks(work: Callable[[slice], None], rows: int, width: int) -> None:
    """Call `work(rows_from:rows_to)` for consecutive blocks of `rows` rows of `width` elements, in
    parallel if large.
    """
    if not rows * width:
        return
    if rows * width <= BLOCK:
        work(slice(0, rows))
        return
    step = max(1, BLOCK // width)
    blocks = [slice(at, min(at + step, rows)) for at in range(0, rows, step)]
    if rows * width < PARALLEL_FROM:
        for block in blocks:
            work(block)
    else:
        for_each(work, blocks)


def for_each(work: Callable[[Any], None], items: Sequence[Any]) -> None:
    """Call `work` on every item, the items shared out in runs to the threads.

    Work that itself calls `for_each` goes on alone on its thread.
    """

    def walk(start: int, stop: int) -> None:
        _worker.busy = True
        try:
            for item in items[start:stop]:
                work(item)
        finally:
            _worker.busy = False

    if len(items) < 2 or getattr(_worker, "busy", False):
        for item in items:
            work(item)
        return
    pool, threads = _pool()
    cuts = [len(items) * part // threads for part in range(threads + 1)]
    others = [pool.submit(walk, *ends) for ends in pairwise(cuts[1:])]
    try:
        walk(cuts[0], cuts[1])
    finally:
        wait(others)  # the arrays must not be given up while another thread still writes to them
    for other in others:
        other.result()


# --- layout ---------------------------------------------------------------------------------------

STRIP = 512  # rows that are turned at once: they stay in cache until all their columns are written


def transposed(x: Array) -> Array:
    """x (T, D) as a new array (D, T) in C order; D should be no more than some lines of the cache.

    NumPy's own copy walks column by column through all of x, and so loads every line D times.
    """
    y = np.empty(x.shape[::-1], x.dtype)
    for at in range(0, x.shape[0], STRIP):
        y[:, at : at + STRIP] = x[at : at + STRIP].T
    return y


# --- linear ---------------------------------------------------------------------------------------


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """x @ weight^T + bias for rows x (N, I), weight (O, I) and bias (O,)."""
    y = x @ weight.T
    if bias is not None:

        def work(block: slice) -> None:
            y[block] += bias

        in_blocks(work, *y.shape)
    return y


# --- erf and GELU ---------------------------------------------------------------------------------

# erf(x / sqrt 2) = tanh(x * P(x^2)): atanh(erf) is so smooth that a short polynomial gives float32
# its full precision, and NumPy's tanh and exp are vectorised where it has no erf at all. Both were
# fitted by tests/backend/fit_erf.py: ten coefficients, used in float64, keep the relative error of
# erf below 1e-8; seven its absolute error below 6e-8, which is all that x * Phi(x) can show.
_ERF_P = (
    0.797884568684, 0.0363354498826, -3.65385274932e-05, -5.26114418342e-05,
    3.06050132639e-06, 3.00349983395e-08, -1.43339633518e-08, 8.69140729767e-10,
    -2.36226035594e-11, 2.50070404284e-13,
)  # fmt: skip
_GELU_P = (
    0.797884941459, 0.0363330845776, -3.25949798669e-05, -5.53061916143e-05,
    3.96474397318e-06, -1.32263299783e-07, 1.75616951242e-09,
)  # fmt: skip
_LIMIT = 5.6  # both were fitted for |x| up to here, beyond which erf(x / sqrt 2) is 1 in float32


def _times_polynomial(x: Array, factors: tuple[float, ...], out: Array) -> None:
    """out = x * (f0 + f1 x^2 + f2 x^4 + ...) by Horner's rule, in the dtype of x and out."""
    square = np.multiply(x, x)
    np.multiply(square, factors[-1], out=out)
    for factor in factors[-2:0:-1]:
        out += factor
        out *= square
    out += factors[0]
    out *= x


def erf(x: Array) -> Array:
    """erf(x), elementwise, in the dtype of x."""
    if x.dtype != np.float32:
        return erf_float64(x.astype(np.float64), np).astype(x.dtype)
    flat, y = np.ascontiguousarray(x).reshape(-1), np.empty(x.size, x.dtype)

    def work(block: slice) -> None:
        scaled = flat[block].astype(np.float64) * math.sqrt(2)
        np.clip(scaled, -_LIMIT, _LIMIT, out=scaled)
        value = np.empty_like(scaled)
        _times_polynomial(scaled, _ERF_P, value)
        y[block] = np.tanh(value, out=value)

    in_blocks(work, y.size, 1)
    return y.reshape(x.shape)


def gelu(x: Array, want_slope: bool) -> tuple[Array, Array | None]:
    """y = x * Phi(x) and, if wanted, its slope Phi(x) + x * phi(x)."""
    y = x.copy(order="C")
    slope = _gelu_(y.reshape(-1, 1), None, want_slope)
    return y, (slope.reshape(x.shape) if slope is not None else None)


def linear_gelu(
    x: Array, weight: Array, bias: Array | None, want_slope: bool
) -> tuple[Array, Array | None]:
    """y = gelu(x @ weight^T + bias) for rows x (N, I), and the slope of gelu there if wanted.

    Bias and gelu overwrite the product block by block, so it crosses main memory only once more.
    """
    y = x @ weight.T
    return y, _gelu_(y, bias, want_slope)


def _gelu_(x: Array, bias: Array | None, want_slope: bool) -> Array | None:
    """Overwrite rows x (N, F) with gelu(x + bias); return the slope of gelu if wanted.

    In float32 Phi(x) = (1 + tanh(x P)) / 2 = 1 / (1 + exp(-2 x P)), which is exact in the tail too.
    """
    slope = np.empty_like(x) if want_slope else None
    factors = tuple(-2 * factor for factor in _GELU_P)

    def work(block: slice) -> None:
        xs = x[block]
        if bias is not None:
            xs += bias
        scratch = np.empty_like(xs)
        if x.dtype == np.float32:
            _times_polynomial(xs, factors, scratch)
            np.exp(scratch, out=scratch)
            scratch += 1
        else:
            scratch[...] = 1 + erf(xs * x.dtype.type(math.sqrt(0.5)))
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

    def quietly(block: slice) -> None:  # far out powers of x overflow to the right limits
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            work(block)

    in_blocks(quietly, *x.shape)
    return slope


# --- attention ------------------------------------------------------------------------------------

# OpenBLAS does products of up to this many multiplications on the calling thread. Blocks of that
# size run side by side on our own threads, and their scores never leave the cache.
ONE_THREAD_PRODUCT = 1 << 18
KEYS = 128


def attention_blocks(heads: int, size: int) -> tuple[int, int]:
    """How many queries, and how many keys, a block of attention should hold."""
    return max(4, ONE_THREAD_PRODUCT // (KEYS * max(1, size))), KEYS


# --- softmax --------------------------------------------------------------------------------------


def softmax_(x: Array) -> Array:
    """Overwrite x with its softmax over the last axis and return it; x must be writable."""
    if x.shape[-1] == 0:
        return x
    if x.ndim > 1 and not x.flags.c_contiguous:
        x[...] = softmax_(np.ascontiguousarray(x))
        return x
    rows = x.reshape(-1, x.shape[-1])

    def work(block: slice) -> None:
        part = rows[block]
        with np.errstate(invalid="ignore"):  # a row of -inf alone is nan
            part -= part.max(axis=-1, keepdims=True)
        np.exp(part, out=part)
        part *= 1 / part.sum(axis=-1, keepdims=True)

    in_blocks(work, rows.shape[0], rows.shape[1])
    return x


def softmax_backward(y: Array, dy: Array) -> Array:
    """dx = y * (dy - sum(dy * y)) over the last axis."""
    shape = y.shape
    if y.size == 0:
        return np.empty_like(y)
    y, dy = (np.ascontiguousarray(a).reshape(-1, shape[-1]) for a in (y, dy))
    dx = np.empty_like(y)

    def work(block: slice) -> None:
        ys, dys, dxs = y[block], dy[block], dx[block]
        np.multiply(dys, ys, out=dxs)
        np.subtract(dys, dxs.sum(axis=-1, keepdims=True), out=dxs)
        dxs *= ys

    in_blocks(work, *y.shape)
    return dx.reshape(shape)


# --- layer norm -----------------------------------------------------------------------------------


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array]:
    """y = x_hat * weight + bias for rows x (N, D); returns y, x_hat (N, D) and rstd (N, 1)."""
    x_hat, y = np.empty_like(x, order="C"), np.empty_like(x, order="C")
    rstd = np.empty((x.shape[0], 1), x.dtype)
    width = x.shape[1]

    def work(block: slice) -> None:
        xs, centred, ys, scale = x[block], x_hat[block], y[block], rstd[block]
        np.add.reduce(xs, axis=-1, keepdims=True, out=scale)
        scale /= width  # mean
        np.subtract(xs, scale, out=centred)
        np.einsum("nd,nd->n", centred, centred, out=scale[:, 0])
        scale /= width  # variance
        scale += eps
        np.sqrt(scale, out=scale)
        np.divide(1, scale, out=scale)
        centred *= scale
        np.multiply(centred, weight, out=ys)
        ys += bias

    in_blocks(work, *x.shape)
    return y, x_hat, rstd


def layer_norm_backward(
    dy: Array, x_hat: Array, rstd: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """dx, dweight, dbias of `layer_norm` for rows dy (N, D)."""
    dx, product = np.empty_like(x_hat), np.empty_like(x_hat)

    def work(block: slice) -> None:
        hats, out, scratch = x_hat[block], dx[block], product[block]
        np.multiply(dy[block], weight, out=out)  # dx_hat
        np.multiply(out, hats, out=scratch)
        slope = scratch.mean(axis=-1, keepdims=True)
        out -= out.mean(axis=-1, keepdims=True)
        np.multiply(hats, slope, out=scratch)
        out -= scratch
        out *= rstd[block]
        np.multiply(dy[block], hats, out=scratch)

    in_blocks(work, *x_hat.shape)
    return dx, product.sum(axis=0), dy.sum(axis=0)


# --- scatter-add ----------------------------------------------------------------------------------


def scatter_add_rows(values: Array, rows: Array, count: int) -> Array:
    """out (count, D) with out[rows[i]] += values[i]; values (N, D), rows (N,) may repeat.

    Sorting brings equal rows together, so that one `reduceat` adds each run; `np.add.at` is many
    times slower.
    """
    out = np.zeros((count, values.shape[1]), values.dtype)
    if rows.size:
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        out[ordered[starts]] = np.add.reduceat(values[order], starts, axis=0)
    return out


def scatter_add_flat(values: Array, positions: Array, count: int) -> Array:
    """out (count,) with out[positions[i]] += values[i]; positions (N,) may repeat."""
    return np.bincount(positions, weights=values, minlength=count).astype(values.dtype, copy=False)


# --- cross entropy --------------------------------------------------------------------------------


def cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Per row of logits (N, V): logsumexp(logits) - logits[target] (N,), and logsumexp (N, 1)."""
    loss, log_total = (np.empty((logits.shape[0], 1), logits.dtype) for _ in range(2))

    def work(block: slice) -> None:
        part = logits[block]
        top = part.max(axis=-1, keepdims=True)
        shifted = part - top
        picked = np.take_along_axis(shifted, targets[block, None], axis=-1)
        np.exp(shifted, out=shifted)
        log_sum = np.log(shifted.sum(axis=-1, keepdims=True))
        np.add(log_sum, top, out=log_total[block])
        np.subtract(log_sum, picked, out=loss[block])  # both small: a loss near 0 keeps its digits

    in_blocks(work, *logits.shape)
    return loss[:, 0], log_total


def cross_entropy_backward(logits: Array, targets: Array, log_total: Array, scale: Array) -> Array:
    """dlogits = (softmax(logits) - one_hot(target)) * scale; scale (N, 1)."""
    dlogits = np.empty_like(logits, order="C")

    def work(block: slice) -> None:
        out = dlogits[block]
        np.subtract(logits[block], log_total[block], out=out)
        np.exp(out, out=out)
        out[np.arange(out.shape[0]), targets[block]] -= 1
        out *= scale[block]

    in_blocks(work, *logits.shape)
    return dlogits


# --- optimizer ------------------------------------------------------------------------------------


def adam_(
    param: Array, grad: Array, mean: Array, square: Array, *, lr: float, beta1: float,
    beta2: float, eps: float, weight_decay: float, decoupled: bool, step: int,
) -> None:  # fmt: skip
    """One Adam (or AdamW, `decoupled`) update of the arrays in place (see `optim/adam.py`)."""
    if not (param.flags.c_contiguous and grad.flags.c_contiguous):
        raise ValueError("adam_ needs contiguous arrays")
    flat = [array.reshape(-1) for array in (param, grad, mean, square)]
    correction = math.sqrt(1 - beta2**step)

    def work(block: slice) -> None:
        p, g, m, v = (array[block] for array in flat)
        if weight_decay and decoupled:
            p *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + p * weight_decay
        scratch = g * (1 - beta1)
        m *= beta1
        m += scratch
        np.multiply(g, g, out=scratch)
        scratch *= 1 - beta2
        v *= beta2
        v += scratch
        np.sqrt(v, out=scratch)
        scratch /= correction
        scratch += eps
        np.divide(m, scratch, out=scratch)
        scratch *= lr / (1 - beta1**step)
        p -= scratch

    in_blocks(work, param.size, 1)
