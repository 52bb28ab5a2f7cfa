"""Ranks of MPI: `Communicator` on mpi4py.

    mpiexec -n 4 python train.py          # world() is then a group of four

Sums and gathered parts of arrays on GPUs go from GPU to GPU by NCCL, if CuPy finds it and no two
ranks share a GPU; else, with a warning, and always in `send`, through the memory of the host.

Source   MPI Forum 2021, "MPI: A Message-Passing Interface Standard, version 4.0"; mpi4py, "Buffer
         interface"
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from typing import Any

import numpy as np

from tinybert.backend import Array, backend_of, device_of, to_device, to_host
from tinybert.parallel.communicator import Communicator, Request

FAILED = 2  # the exit code of an error, as of every command
INSTALL = 'pip install "tinybert[mpi]" mpich'


def world() -> MPI:
    """Return the group of all ranks of the job.

    Raises ImportError with the way to install mpi4py.
    """
    try:
        from mpi4py import MPI as library
    except (ImportError, RuntimeError) as error:  # RuntimeError: there is no MPI library
        raise ImportError(
            f"several ranks need mpi4py and MPI: {INSTALL}, then mpiexec -n RANKS"
        ) from error
    return MPI(library, library.COMM_WORLD)


def choose_gpu(world: MPI) -> None:
    """Make one GPU visible to each process of a computer; call it before CUDA starts.

    The GPUs are those of the environment variable CUDA_VISIBLE_DEVICES, in the order of the ranks;
    if there are more ranks than GPUs, they share them. Without the variable process i of a computer
    has GPU i.
    """
    local = world._comm.Split_type(world._library.COMM_TYPE_SHARED).Get_rank()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    numbers = [str(local)] if visible is None else visible.split(",")
    os.environ["CUDA_VISIBLE_DEVICES"] = numbers[local % len(numbers)]


class MPI(Communicator):
    """A communicator of MPI, of the library `mpi4py.MPI`."""

    def __init__(self, library: Any, comm: Any) -> None:
        super().__init__()
        self._library, self._comm = library, comm
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self._nccl: Any = None  # not tried yet; False if it is not there

    def gather_objects(self, value: Any) -> list[Any]:
        return self._comm.allgather(value)

    def barrier(self) -> None:
        self._comm.Barrier()

    def split(self, color: int, key: int) -> MPI:
        return MPI(self._library, self._comm.Split(color, key))

    def recv(self, shape: tuple[int, ...], dtype: Any, source: int, tag: int = 0) -> Array:
        array = np.empty(shape, dtype)
        status = self._library.Status()
        self._comm.Recv(_bytes(array), source, tag, status)
        if status.Get_count(self._library.BYTE) != array.nbytes:
            raise ValueError(
                f"rank {source} sent {status.Get_count(self._library.BYTE)} bytes, not the "
                f"{array.nbytes} of {array.dtype} {shape}"
            )
        return array

    def abort(self, message: str) -> None:
        print(message, file=sys.__stderr__, flush=True)
        time.sleep(0.5)  # Abort also ends the launcher, which may not have read the message yet
        self._comm.Abort(FAILED)
        os._exit(FAILED)  # Abort may return before the launcher ends this process

    def _gpus(self, array: Array) -> Any:
        """Return the `Collectives` of the group's GPUs if `array` is on one and they have NCCL."""
        if backend_of(array).name != "cuda":
            return None
        if self._nccl is None:
            from tinybert.backend.cuda import collectives

            gpus = self._comm.allgather(collectives.own_gpu())
            fault = "two ranks share a GPU" if len(set(gpus)) < self.size else ""
            fault = "CuPy finds no NCCL" if None in gpus else fault
            if fault and self.rank == 0:
                warnings.warn(f"{fault}: arrays pass through the memory of the host", stacklevel=4)
            if not fault:
                identity = self._comm.bcast(collectives.new_identity() if self.rank == 0 else None)
                self._nccl = collectives.Collectives(self.size, identity, self.rank)
            else:
                self._nccl = False
        return self._nccl or None

    def _allreduce(self, array: Array, op: str) -> Request:
        if gpus := self._gpus(array):
            return Request(gpus.allreduce(array, op))
        own = np.ascontiguousarray(to_host(array))
        total = np.empty_like(own)
        kind = self._library.SUM if op == "sum" else self._library.MAX
        request = self._comm.Iallreduce(own, total, kind)  # it keeps both arrays

        def wait() -> Array:
            request.Wait()
            return to_device(total, device_of(array))

        return Request(wait)

    def _allgather(self, array: Array, axis: int) -> Array:
        if gpus := self._gpus(array):
            xp = backend_of(array).xp
            return xp.concatenate(list(gpus.allgather(array)()), axis=axis)
        own = np.ascontiguousarray(to_host(array))
        parts = np.empty((self.size, *own.shape), own.dtype)
        self._comm.Allgather(_bytes(own), _bytes(parts))
        joined = np.concatenate(list(parts), axis=axis)
        return to_device(joined, device_of(array))

    def _reduce_scatter(self, array: Array, axis: int) -> Array:
        if gpus := self._gpus(array):
            xp = backend_of(array).xp
            return gpus.reduce_scatter(xp.stack(xp.split(array, self.size, axis=axis)))()
        parts = np.stack(np.split(to_host(array), self.size, axis=axis))
        own = np.empty(parts.shape[1:], parts.dtype)
        self._comm.Reduce_scatter_block(np.ascontiguousarray(parts), own, self._library.SUM)
        return to_device(own, device_of(array))

    def _send(self, array: Array, to: int, tag: int) -> Request:
        own = np.ascontiguousarray(to_host(array))
        return Request(self._comm.Isend(_bytes(own), to, tag).Wait)


def _bytes(array: np.ndarray) -> np.ndarray:
    """Return a contiguous array as bytes: MPI then needs to know no dtype."""
    return array.reshape(-1).view(np.uint8)
