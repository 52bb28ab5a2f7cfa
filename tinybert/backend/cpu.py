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
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from tinybert.processors import is_intel, thread_count

# Elements that a thread works on at once: a few float32 blocks of this size, 1 MiB each, fit its
# share of the cache, and for fewer elements waking a second thread costs more than it saves.
BLOCK = 1 << 18
# glibc gives a freed array back to the system if it is larger than any freed before, and each page
# of the next one is a page fault. After freeing one of nearly 32 MiB, the limit, it keeps others.
np.empty(31 << 20, np.uint8)
# Whether the processor has AVX-512: OpenBLAS then multiplies small matrices without copying them.
_FEATURES = sys.modules["numpy._core._multiarray_umath"].__cpu_features__
HAS_AVX512: bool = _FEATURES.get("AVX512_SKX", False)
READS_AHEAD = is_intel()  # whether it prefetches many streams; AMD's Zen 4 was measured not to


def new_generator(seed: int | tuple[int, ...] | None) -> np.random.Generator:
    """Return a random generator; the same seed gives the same stream on every machine."""
    return np.random.Generator(np.random.SFC64(seed))


@lru_cache(maxsize=1)
def _helpers() -> tuple[SimpleQueue[Callable[[], None]], int]:
    """Return a queue of calls, and the number of threads that take calls from it and make them.

    It hands a call over in 35 us, a `ThreadPoolExecutor` in 55.
    """
    calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def serve() -> None:
        _thread.busy = True
        while True:
            calls.get()()

    count = thread_count() - 1
    for _ in range(count):
        threading.Thread(target=serve, name="tinybert", daemon=True).start()
    return calls, count


_thread = threading.local()  # `_thread.busy`: this thread runs its share of some work


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # threads do not survive a fork


def free_threads() -> int:
    """Return how many threads `for_each` would use now: 1 if it is called from its own work."""
    return 1 if getattr(_thread, "busy", False) else 1 + _helpers()[1]


def in_blocks(work: Callable[[slice], None], rows: int, width: int) -> None:
    """Call `work(first:last)` for blocks of rows of `width` elements, several in parallel."""
    threads = min(free_threads(), 2 * rows * width // BLOCK) if rows * width > BLOCK else 1
    if count := -(-rows * width // (BLOCK * threads)) * threads:  # equal blocks for every thread
        step = -(-rows // count)
        for_each(work, [slice(at, min(at + step, rows)) for at in range(0, rows, step)])


def for_each(work: Callable[[Any], None], items: Sequence[Any], parallel: bool = True) -> None:
    """Call `work` on every item; if `parallel`, each thread takes another item when it is free.

    The last items are taken first: where they get longer, no thread begins a long one at the end.
    A call from inside such work runs its items on the calling thread.
    """
    if not parallel or len(items) < 2 or free_threads() == 1:
        for item in items:
            work(item)
        return
    calls, helpers = _helpers()
    turns = [threading.Lock() for _ in range(min(1 + helpers, len(items)))]  # one for each thread
    left = deque((*[None] * len(turns), *items))
    errors = []

    def run(turn: threading.Lock) -> None:
        if turn.acquire(blocking=False):
            try:
                for item in iter(left.pop, None):
                    work(item)
            except BaseException as error:
                errors.append(error)
            finally:
                turn.release()

    for turn in turns[1:]:
        calls.put(partial(run, turn))
    _thread.busy = True
    try:
        run(turns[0])
    finally:  # also if Ctrl-C arrives outside `work`
        _thread.busy = False
    for turn in turns:
        turn.acquire()  # waits for a thread that has begun, and keeps out one that has not
    if errors:
        raise errors.pop()


def times_polynomial(x: np.ndarray, factors: tuple[float, ...], out: np.ndarray) -> None:
    """Compute out = x * (f0 + f1 x^2 + f2 x^4 + ...) by Horner's rule, in their dtype."""
    square = np.multiply(x, x)
    np.multiply(square, factors[-1], out=out)
    for factor in factors[-2:0:-1]:
        out += factor
        out *= square
    out += factors[0]
    out *= x
