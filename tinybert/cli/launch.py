"""Read the MPI rank of this process from the environment, without importing mpi4py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

_RANKS = "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"  # MPICH and Intel MPI, PMIx, Open MPI


def launched_rank() -> int | None:
    """Return the rank of this process in the job of `mpiexec`; None if it was started alone."""
    found = (os.environ.get(name, "") for name in _RANKS)
    return next((int(rank) for rank in found if rank.isdigit()), None)


@contextmanager
def one_voice() -> Iterator[None]:
    """Let only rank 0 print in the `with` block; all ranks parse the same command line."""
    if not launched_rank():
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
