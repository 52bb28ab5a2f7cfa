"""Kernels over many tensors at once: a step of Adam, the norm of all gradients, their scaling."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import cupy
import numpy as np

from tinybert.backend.cuda.launch import contiguous, function, wide

Array = Any

CHUNK = 1 << 15  # elements of a tensor that a block of threads takes
THREADS = 256
_OPTIONS = "lr", "beta1", "beta2", "eps", "weight_decay", "decoupled"


def adam_steps(
    params: list[Array], grads: list[Array], means: list[Array], squares: list[Array],
    steps: list[int], **options: Any,
) -> None:  # fmt: skip
    """Update all tensors of a dtype by one kernel, which reads gradients in the same dtype."""
    grads = [contiguous(grad, p.dtype) for grad, p in zip(grads, params, strict=True)]
    lr, beta1, beta2, eps, weight_decay, decoupled = (options[name] for name in _OPTIONS)
    keep = 1 - lr * weight_decay if decoupled else 1.0
    decay = 0.0 if decoupled else weight_decay
    for char, which in _by_dtype(params):
        lists = [[some[at] for at in which] for some in (params, grads, means, squares)]
        table, owner = _table(lists)
        pairs = [(lr / (1 - beta1 ** steps[at]), math.sqrt(1 - beta2 ** steps[at])) for at in which]
        factors = cupy.asarray(np.array(pairs).reshape(-1, 2)[owner])
        _launch(
            "adam", char, table, table, factors, keep, decay, float(beta1), float(beta2), float(eps)
        )


def euclidean_norm(arrays: list[Array]) -> Array:
    """Return the root of the sum of all squares: one kernel for each dtype, then the sum."""
    arrays = [array if _is_dense(array) else contiguous(array) for array in arrays]
    totals = []
    for char, which in _by_dtype(arrays):
        table, _ = _table([[arrays[at] for at in which]])
        sums = cupy.empty(len(table), wide(np.dtype(char)))
        _launch("squares", char, table, table, sums)
        totals.append(sums.sum())
    total = totals[0]
    for more in totals[1:]:
        total = total + more
    return cupy.sqrt(total)


def scale_all(arrays: list[Array], factor: Array) -> None:
    """Multiply by one kernel for each dtype."""
    for char, which in _by_dtype(arrays):
        dense = [arrays[at] for at in which if _is_dense(arrays[at])]
        if dense:
            table, _ = _table([dense])
            _launch("scale", char, table, table, factor.astype(wide(np.dtype(char)), copy=False))
    for array in arrays:
        if not _is_dense(array):
            array *= factor.astype(array.dtype)


def _is_dense(array: Array) -> bool:
    """Return whether the elements fill their memory without gaps."""
    return array.flags.c_contiguous or array.flags.f_contiguous


def _by_dtype(arrays: Sequence[Array]) -> Iterator[tuple[str, list[int]]]:
    """Yield the character of each dtype and the numbers of the arrays that have it."""
    for char in dict.fromkeys(array.dtype.char for array in arrays):
        yield char, [at for at, array in enumerate(arrays) if array.dtype.char == char]


def _table(lists: list[list[Array]]) -> tuple[Array, np.ndarray]:
    """Return a row for each chunk: its address in each list, its size; and its number in the list.

    The arrays of a list correspond to those of the others and are contiguous.
    """
    sizes = np.array([array.size for array in lists[0]], np.int64)
    chunks = -(-sizes // CHUNK)
    owner = np.repeat(np.arange(len(sizes)), chunks)
    first = np.repeat(np.cumsum(chunks) - chunks, chunks)
    start = (np.arange(len(owner)) - first) * CHUNK  # of the chunk in its array
    columns = [
        np.array([array.data.ptr for array in arrays], np.int64)[owner] + start * arrays[0].itemsize
        for arrays in lists
    ]
    count = np.minimum(sizes[owner] - start, CHUNK)
    return cupy.asarray(np.stack([*columns, count], axis=1)), owner


def _launch(name: str, char: str, table: Array, *arguments: Any) -> None:
    if len(table):
        function("tensors.cu", name, char)((len(table),), (THREADS,), arguments)


KERNELS = {function_.__name__: function_ for function_ in (adam_steps, euclidean_norm, scale_all)}
