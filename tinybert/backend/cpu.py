"""Shared code of the CPU kernels: work in blocks that fit the cache, on all cores.

A NumPy expression such as `x * 0.5 * (1 + t)` reads and writes main memory once an operation. A
fast kernel processes a block of rows at a time: the block stays in the cache while every step
writes into the same buffer (`out=`). Blocks run on a small thread pool, since NumPy releases the
interpreter's lock while it computes. The kernels are in `tinybert.ops`, after their formulas.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

import numpy as np

# Elements that a thread works on at once: a few float32 blocks of this size, 1 MiB each, fit its
# share of the cache, and for fewer elements waking a second thread costs more than it saves.
BLOCK = 1 << 18
# Whether the processor has AVX-512: OpenBLAS then multiplies small matrices without copying them.
_FEATURES = sys.modules["numpy._core._multiarray_umath"].__cpu_features__
HAS_AVX512: bool = _FEATURES.get("AVX512_SKX", False)


def new_generator(seed: int | tuple[int, ...] | None) -> np.random.Generator:
    """Return a random generator; the same seed gives the same stream on every machine."""
    return np.random.Generator(np.random.SFC64(seed))


def thread_count() -> int:
    """Return how many threads share work: as many as OpenBLAS has, which reads the same variables.

    `tinybert.processors` sets the first of them in a container with a limit.
    """
    most = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"):
        number = os.environ.get(name, "").partition(",")[0].strip()
        if number.isdecimal() and int(number):
            return min(int(number), most)
    return most


@lru_cache(maxsize=1)
def _pool() -> tuple[ThreadPoolExecutor, int]:
    """Return the threads that share blocked work, and how many they are."""
    threads = thread_count()
    return ThreadPoolExecutor(threads, thread_name_prefix="tinybert"), threads


_worker = threading.local()  # `_worker.busy`: this thread runs its share of some work


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def free_threads() -> int:
    """Return how many threads `for_each` would use now: 1 if it is called from its own work."""
    return 1 if getattr(_worker, "busy", False) else _pool()[1]


def in_blocks(work: Callable[[slice], None], rows: int, width: int) -> None:
    """Call `work(first:last)` for blocks of rows of `width` elements, several in parallel."""
    if 0 < rows * width <= BLOCK:
        work(slice(0, rows))
    elif rows * width:
        step = max(1, BLOCK // width)
        for_each(work, [slice(at, min(at + step, rows)) for at in range(0, rows, step)])


def for_each(work: Callable[[Any], None], items: Sequence[Any], parallel: bool = True) -> None:
    """Call `work` on every item; if `parallel`, n threads take every n-th item each: where the
    items get longer from first to last, the threads still have equal work.

    A call from inside such work runs its items on the calling thread.
    """
    if not parallel or len(items) < 2 or getattr(_worker, "busy", False):
        for item in items:
            work(item)
        return
    pool, threads = _pool()

    def walk(first: int) -> None:
        _worker.busy = True
        try:
            for item in items[first::threads]:
                work(item)
        finally:
            _worker.busy = False

    others = [pool.submit(walk, first) for first in range(1, threads)]
    try:
        walk(0)
    finally:
        wait(others)  # no array may be freed while another thread writes to it
    for other in others:
        other.result()


def times_polynomial(x: np.ndarray, factors: tuple[float, ...], out: np.ndarray) -> None:
    """Compute out = x * (f0 + f1 x^2 + f2 x^4 + ...) by Horner's rule, in their dtype."""
    square = np.multiply(x, x)
    np.multiply(square, factors[-1], out=out)
    for factor in factors[-2:0:-1]:
        out += factor
        out *= square
    out += factors[0]
    out *= x
