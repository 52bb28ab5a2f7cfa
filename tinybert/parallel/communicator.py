"""`Communicator`: the ranks of a group, and the operations by which they exchange arrays.

The names are those of MPI. Two classes implement them: `simulated.py` with the threads of one
process, `mpi.py` with mpi4py. The sum of an `allreduce` and a `reduce_scatter` is the same, bit for
bit, on every rank that receives it. Simulated ranks add in the order of their numbers; MPI chooses
the order from the size of the message and of the group, the same in every run.

Traffic. Each call adds the bytes of its message, n, to `traffic`. With the ring algorithm a rank
of p sends (Thakur et al. 2005, "Optimization of collective communication operations in MPICH"):

    operation        message                         bytes sent by a rank
    allreduce        the array                       2 n (p - 1) / p
    allgather        the result, p parts             n (p - 1) / p
    reduce_scatter   the argument, p parts           n (p - 1) / p
    bcast            the array                       n (by its root, in a chain)
    send             the array                       n
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinybert.backend import Array


@dataclass
class Traffic:
    """The calls of one operation by this rank, and the bytes of their messages."""

    calls: int = 0
    bytes: int = 0


class Request:
    """A transfer that has started. `wait()` returns when it has ended, with its result."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self._wait: Callable[[], Any] | None = wait
        self._result: Any = None

    def wait(self) -> Any:
        """Wait for the end of the transfer; further calls return the same result."""
        if self._wait is not None:
            self._result, self._wait = self._wait(), None
        return self._result


class Communicator(ABC):
    """A group of ranks, as one of them sees it.

    Every rank of the group must call the same collective operations in the same order, with arrays
    of the same shape and dtype.

    Attributes:
        rank, size: this rank's number, from 0 to size - 1.
        traffic: for each operation by name, its calls and bytes.
        tokens: with sequence parallelism, how many tokens the group divides in this forward pass.
    """

    rank: int
    size: int
    tokens: int

    def __init__(self) -> None:
        self.traffic: dict[str, Traffic] = {}

    # --- collective operations ------------------------------------------------------------------

    def allreduce(self, array: Array, op: str = "sum") -> Array:
        """Return the sum (or with op="max" the maximum) of the arrays of all ranks: a new array."""
        return self.iallreduce(array, op).wait()

    def iallreduce(self, array: Array, op: str = "sum") -> Request:
        """Start an `allreduce`; `wait()` on the request returns its result.

        The array must not change until then.
        """
        if op not in ("sum", "max"):
            raise ValueError(f"op must be 'sum' or 'max', got {op!r}")
        if self.size == 1:
            copy = array.copy()
            return Request(lambda: copy)
        self._count("allreduce", array.nbytes)
        return self._allreduce(array, op)

    def allgather(self, array: Array, axis: int = 0) -> Array:
        """Return the arrays of all ranks, concatenated along `axis` in the order of the ranks."""
        if self.size == 1:
            return array.copy()
        self._count("allgather", array.nbytes * self.size)
        return self._allgather(array, axis)

    def reduce_scatter(self, array: Array, axis: int = 0) -> Array:
        """Return this rank's part, of `size` equal ones along `axis`, of the sum of all arrays."""
        if self.size == 1:
            return array.copy()
        if array.shape[axis] % self.size:
            raise ValueError(
                f"axis {axis} of shape {array.shape} cannot be divided among {self.size} ranks"
            )
        self._count("reduce_scatter", array.nbytes)
        return self._reduce_scatter(array, axis)

    def bcast(self, array: Array | None, root: int = 0) -> Array:
        """Return the array of rank `root`; the argument of other ranks is not read."""
        if self.rank == root and array is not None:
            self._count("bcast", array.nbytes)
        return np.asarray(self.gather_objects(array if self.rank == root else None)[root])

    @abstractmethod
    def gather_objects(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in their order: small Python objects, not counted."""

    def barrier(self) -> None:
        """Wait until every rank has called `barrier`."""
        self.gather_objects(None)

    @abstractmethod
    def split(self, color: int, key: int) -> Communicator:
        """Return the group of all ranks that give the same `color`, in the order of their keys."""

    # --- two ranks ------------------------------------------------------------------------------

    def send(self, array: Array, to: int, tag: int = 0) -> Request:
        """Start to send an array to rank `to`. It must not change until `wait()` has returned."""
        self._count("send", array.nbytes)
        return self._send(array, to, tag)

    @abstractmethod
    def recv(self, shape: tuple[int, ...], dtype: Any, source: int, tag: int = 0) -> Array:
        """Return the next array that rank `source` sent with this tag; it must have that shape."""

    # --- the end --------------------------------------------------------------------------------

    @abstractmethod
    def abort(self, message: str) -> None:
        """End all ranks of the job, with this message."""

    # --- what a transport defines ---------------------------------------------------------------

    @abstractmethod
    def _allreduce(self, array: Array, op: str) -> Request: ...

    @abstractmethod
    def _allgather(self, array: Array, axis: int) -> Array: ...

    @abstractmethod
    def _reduce_scatter(self, array: Array, axis: int) -> Array: ...

    @abstractmethod
    def _send(self, array: Array, to: int, tag: int) -> Request: ...

    def _count(self, operation: str, size: int) -> None:
        entry = self.traffic.setdefault(operation, Traffic())
        entry.calls += 1
        entry.bytes += size


def bytes_sent(operation: str, message: int, ranks: int) -> float:
    """Return how many bytes a rank sends for a message of so many bytes: the table above."""
    share = (ranks - 1) / ranks
    factors = {"allreduce": 2 * share, "allgather": share, "reduce_scatter": share}
    return message * factors.get(operation, 1.0)
