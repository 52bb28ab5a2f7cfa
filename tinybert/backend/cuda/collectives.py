"""Collective operations over the GPUs of several processes, one GPU each, with NCCL.

They run on a CUDA stream of their own, at the same time as kernels. An operation starts after the
kernels that were launched before it; after its `wait`, further kernels start when it has ended. The
host does not wait.

Source   NVIDIA, "NCCL User Guide", collective operations; CuPy, `cupy.cuda.nccl`
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import cupy
from cupy.cuda import nccl

Array = Any


def own_gpu() -> tuple[str, str] | None:
    """Return the names of this computer and of the current GPU; None if CuPy finds no NCCL."""
    return (platform.node(), cupy.cuda.Device().pci_bus_id) if nccl.available else None


def new_identity() -> Any:
    """Return the id of a new group, which one process makes and sends to the others."""
    return nccl.get_unique_id()


class Collectives:
    """A group of `size` processes; each makes one with the same identity and its own rank."""

    def __init__(self, size: int, identity: Any, rank: int) -> None:
        self.size = size
        self._comm = nccl.NcclCommunicator(size, identity, rank)
        self._stream = cupy.cuda.Stream(non_blocking=True)

    def allreduce(self, array: Array, op: str) -> Callable[[], Array]:
        """Start the sum (or with op="max" the maximum) of the arrays; the result returns it."""
        own = cupy.ascontiguousarray(array)
        return self._start(self._comm.allReduce, own, cupy.empty_like(own), own.size, op)

    def allgather(self, array: Array) -> Callable[[], Array]:
        """Start to gather the arrays (...) of all ranks; the result returns them, (size, ...)."""
        own = cupy.ascontiguousarray(array)
        parts = cupy.empty((self.size, *own.shape), own.dtype)
        return self._start(self._comm.allGather, own, parts, own.size)

    def reduce_scatter(self, parts: Array) -> Callable[[], Array]:
        """Start the sum of the ranks' parts (size, ...); the result returns this rank's, (...)."""
        parts = cupy.ascontiguousarray(parts)
        own = cupy.empty(parts.shape[1:], parts.dtype)
        return self._start(self._comm.reduceScatter, parts, own, own.size, "sum")

    def _start(
        self, call: Callable[..., Any], sent: Array, received: Array, count: int, *op: str
    ) -> Callable[[], Array]:
        kinds = {"e": nccl.NCCL_FLOAT16, "f": nccl.NCCL_FLOAT32, "d": nccl.NCCL_FLOAT64,
                 "i": nccl.NCCL_INT32, "l": nccl.NCCL_INT64, "q": nccl.NCCL_INT64}  # fmt: skip
        if sent.dtype.char not in kinds:
            raise TypeError(f"NCCL cannot add arrays of {sent.dtype}")
        operations = [{"sum": nccl.NCCL_SUM, "max": nccl.NCCL_MAX}[name] for name in op]
        self._stream.wait_event(cupy.cuda.get_current_stream().record())
        call(
            sent.data.ptr, received.data.ptr, count, kinds[sent.dtype.char], *operations,
            self._stream.ptr,
        )  # fmt: skip
        done, arrays = self._stream.record(), (sent, received)  # `sent` must live until the end

        def wait() -> Array:
            cupy.cuda.get_current_stream().wait_event(done)
            return arrays[1]

        return wait
