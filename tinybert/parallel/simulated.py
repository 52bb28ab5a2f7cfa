"""Simulated ranks: the threads of one process, to learn and to test without MPI.

    def job(world):
        return world.allreduce(np.array([world.rank + 1.0]))

    run(4, job)     # [array([10.]), array([10.]), array([10.]), array([10.])]

The same function runs on real ranks: `job(tinybert.parallel.mpi.world())` under `mpiexec -n 4`.
Threads share Python's interpreter lock, so simulated ranks are no faster than one.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import numpy as np

from tinybert.backend import Array, device_of, to_device, to_host
from tinybert.parallel.communicator import Communicator, Request

Result = TypeVar("Result")
TIMEOUT = 60.0  # seconds that a rank waits for another


class Aborted(RuntimeError):
    """Another rank has failed, so this one cannot continue."""


def run(
    ranks: int, function: Callable[[Communicator], Result], timeout: float = TIMEOUT
) -> list[Result]:
    """Call `function(world)` on `ranks` threads, each with its own communicator.

    Returns the results in the order of the ranks. If a rank raises, all others end at their next
    exchange, and its exception is raised here with the number of the rank as a note. If a rank
    waits longer than `timeout` seconds for another, `TimeoutError` is raised: usually not all ranks
    called the same operation.
    """
    if ranks < 1:
        raise ValueError(f"ranks must be at least 1, got {ranks}")
    job = _Job(timeout)
    place = _Place(job)
    results: dict[int, Result] = {}
    errors: list[tuple[int, BaseException]] = []

    def work(rank: int) -> None:
        try:
            results[rank] = function(Simulated(job, place, rank, ranks))
        except BaseException as error:
            errors.append((rank, error))
            job.end(f"rank {rank} failed: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = [pair for pair in errors if not isinstance(pair[1], Aborted)] or errors
    if first:
        rank, error = first[0]
        if hasattr(error, "add_note"):  # Python 3.11
            error.add_note(f"(on simulated rank {rank} of {ranks})")
        raise error
    return [results[rank] for rank in range(ranks)]


class _Job:
    """What all simulated ranks share: one lock, and why the job has ended, if it has."""

    def __init__(self, timeout: float) -> None:
        self.changed, self.timeout = threading.Condition(), timeout
        self.fault: str | None = None

    def end(self, fault: str) -> None:
        """Let every rank that waits raise `Aborted`."""
        with self.changed:
            self.fault = self.fault or fault
            self.changed.notify_all()

    def wait_for(self, ready: Callable[[], Any], what: str) -> None:
        """Wait, with the lock held, until `ready()`; raise if the job ends, or the time is over."""
        done = self.changed.wait_for(lambda: self.fault is not None or ready(), self.timeout)
        if self.fault is not None and not ready():
            raise Aborted(self.fault)
        if not done:
            raise TimeoutError(
                f"no {what} after {self.timeout:g} s; do all ranks of the group call the same "
                "operations in the same order?"
            )


class _Place:
    """What the ranks of one group share: the values of each exchange, and messages."""

    def __init__(self, job: _Job) -> None:
        self.rounds: defaultdict[int, dict[int, Any]] = defaultdict(dict)
        self.taken: defaultdict[int, int] = defaultdict(int)
        self.messages: defaultdict[tuple[int, int, int], deque[Array]] = defaultdict(deque)
        self.parts: dict[tuple[int, int], _Place] = {}


class Simulated(Communicator):
    """One of several simulated ranks; made by `run`."""

    def __init__(self, job: _Job, place: _Place, rank: int, size: int) -> None:
        super().__init__()
        self.rank, self.size = rank, size
        self._job, self._place, self._round = job, place, 0

    def gather_objects(self, value: Any) -> list[Any]:
        return self._post(value)()

    def split(self, color: int, key: int) -> Simulated:
        made = self._round
        pairs = self.gather_objects((color, key))
        members = sorted((k, rank) for rank, (c, k) in enumerate(pairs) if c == color)
        with self._job.changed:
            place = self._place.parts.setdefault((made, color), _Place(self._job))
        return Simulated(self._job, place, members.index((key, self.rank)), len(members))

    def recv(self, shape: tuple[int, ...], dtype: Any, source: int, tag: int = 0) -> Array:
        messages = self._place.messages[source, self.rank, tag]
        with self._job.changed:
            self._job.wait_for(lambda: messages, f"message from rank {source}")
            array = messages.popleft()
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(
                f"rank {source} sent {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape}"
            )
        return array

    def abort(self, message: str) -> None:
        self._job.end(message)

    def _post(self, value: Any) -> Callable[[], list[Any]]:
        """Give this rank's value for the next exchange; the result waits for those of all."""
        place, job, number = self._place, self._job, self._round
        self._round += 1
        with job.changed:
            place.rounds[number][self.rank] = value
            if len(place.rounds[number]) == self.size:
                job.changed.notify_all()

        def collect() -> list[Any]:
            with job.changed:
                values = place.rounds[number]
                job.wait_for(lambda: len(values) == self.size, "answer from the other ranks")
                place.taken[number] += 1
                if place.taken[number] == self.size:
                    del place.rounds[number], place.taken[number]
            return [values[rank] for rank in range(self.size)]

        return collect

    def _arrays(self, array: Array) -> Callable[[], list[np.ndarray]]:
        """Post a copy of an array; the result checks that all have the same shape and dtype."""
        collect = self._post(to_host(array).copy())

        def checked() -> list[np.ndarray]:
            arrays = collect()
            kinds = {(a.shape, str(a.dtype)) for a in arrays}
            if len(kinds) > 1:
                raise ValueError(f"the ranks of the group give different arrays: {sorted(kinds)}")
            return arrays

        return checked

    def _allreduce(self, array: Array, op: str) -> Request:
        collect, combine = self._arrays(array), np.add if op == "sum" else np.maximum
        return Request(lambda: to_device(reduce(combine, collect()), device_of(array)))

    def _allgather(self, array: Array, axis: int) -> Array:
        return to_device(np.concatenate(self._arrays(array)(), axis=axis), device_of(array))

    def _reduce_scatter(self, array: Array, axis: int) -> Array:
        parts = (np.split(a, self.size, axis=axis)[self.rank] for a in self._arrays(array)())
        return to_device(reduce(np.add, parts), device_of(array))

    def _send(self, array: Array, to: int, tag: int) -> Request:
        with self._job.changed:
            self._place.messages[self.rank, to, tag].append(to_host(array).copy())
            self._job.changed.notify_all()
        return Request(lambda: None)
