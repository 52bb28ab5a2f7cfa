"""`cupy.cuda.nccl` and streams, for ranks that are threads; as late as a GPU may be.

A collective operation writes its result only when a stream waits for an event behind it. It refuses
to start on a stream that has not waited for what the current stream did before.
"""

from __future__ import annotations

import ctypes
import threading
from collections import defaultdict
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

NCCL_FLOAT16, NCCL_FLOAT32, NCCL_FLOAT64, NCCL_INT32, NCCL_INT64 = 6, 7, 8, 2, 4
NCCL_SUM, NCCL_MAX = 0, 2
DTYPES = {6: "float16", 7: "float32", 8: "float64", 2: "int32", 4: "int64"}
available = True
_current = threading.local()
_streams: dict[int, Stream] = {}
_numbers = count(1)


class Stream:
    def __init__(self, non_blocking: bool = False) -> None:
        self.ptr, self.work = next(_numbers), list[Callable[[], None]]()
        self.after: Any = None  # the last event that it waits for
        _streams[self.ptr] = self

    def record(self) -> Event:
        return Event(self, list(self.work))

    def wait_event(self, event: Event) -> None:
        self.after = event
        for action in event.work:
            action()
        event.stream.work = [a for a in event.stream.work if a not in event.work]


class Event:
    def __init__(self, stream: Stream, work: list[Callable[[], None]]) -> None:
        self.stream, self.work = stream, work


def get_current_stream() -> Stream:
    if not hasattr(_current, "stream"):
        _current.stream = Stream()
    return _current.stream


def get_unique_id() -> bytes:
    return next(_numbers).to_bytes(128, "little")


class _Group:
    """The arrays that the ranks of one communicator gave, by the number of the operation."""

    def __init__(self) -> None:
        self.given: defaultdict[int, dict[int, np.ndarray]] = defaultdict(dict)
        self.changed = threading.Condition()


_groups: defaultdict[bytes, _Group] = defaultdict(_Group)


class NcclCommunicator:
    def __init__(self, ndev: int, identity: bytes, rank: int) -> None:
        self.size, self.rank, self.group, self.done = ndev, rank, _groups[identity], 0

    def allReduce(self, sent, received, number, kind, op, stream):
        self._start(sent, number, received, kind, stream, lambda all_: _combined(all_, op))

    def allGather(self, sent, received, number, kind, stream):
        self._start(sent, number, received, kind, stream, np.concatenate)

    def reduceScatter(self, sent, received, number, kind, op, stream):
        def part(arrays: list[np.ndarray]) -> np.ndarray:
            return _combined(arrays, op)[self.rank * number : (self.rank + 1) * number]

        self._start(sent, number * self.size, received, kind, stream, part)

    def _start(self, sent, number, received, kind, stream, compute):
        own = _streams[stream]
        assert own is not get_current_stream()
        assert own.after is not None, "it does not wait for the kernels before"
        assert own.after.stream is get_current_stream(), "it does not wait for the kernels before"
        own.after = None
        turn, group = self.done, self.group
        self.done += 1
        with group.changed:
            group.given[turn][self.rank] = _memory(sent, number, DTYPES[kind]).copy()
            group.changed.notify_all()

        def finish() -> None:
            with group.changed:
                assert group.changed.wait_for(lambda: len(group.given[turn]) == self.size, 30)
            result = compute([group.given[turn][rank] for rank in range(self.size)])
            _memory(received, result.size, DTYPES[kind])[...] = result

        own.work.append(finish)


def _combined(arrays: list[np.ndarray], op: int) -> np.ndarray:
    return (np.add if op == NCCL_SUM else np.maximum).reduce(arrays)


def _memory(pointer: int, number: int, dtype: str) -> np.ndarray:
    size = number * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(pointer), dtype)
