"""Read the MPI rank of this process from the environment, without importing mpi4py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from tinybert.processors import LOCAL_RANKS

_RANKS = "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"  # MPICH and Intel MPI, PMIx, Open MPI
_SIZES = "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"


def launched_rank() -> int | None:
    """Return the rank of this process in the job of `mpiexec`; None if it was started alone.

    Slurm's srun sets a rank for a single task too, such as an interactive shell.
    """
    single = os.environ.get("SLURM_STEP_NUM_TASKS") == "1"
    if single and not any(os.environ.get(name) for name in LOCAL_RANKS):
        return None
    return _first_number(_RANKS)


def launched_size() -> int | None:
    """Return how many processes `mpiexec` has started; None if it does not say."""
    return _first_number(_SIZES)


def _first_number(names: tuple[str, ...]) -> int | None:
    found = (os.environ.get(name, "") for name in names)
    return next((int(text) for text in found if text.isdigit()), None)


@contextmanager
def one_voice() -> Iterator[None]:
    """Let only rank 0 print in the `with` block; all ranks parse the same command line."""
    if not launched_rank():
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
