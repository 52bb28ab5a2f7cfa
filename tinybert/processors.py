"""How many processors this process may use, and as many threads for NumPy's BLAS.

OpenBLAS reads the environment when NumPy is imported, and starts a thread for each processor. In a
container that may use only a part of their time, the threads then wait for each other while the
container is stopped. On a machine with several MPI processes, each would start as many threads.

Source  Linux, Documentation/admin-guide/cgroup-v2.rst ("cpu.max"), Documentation/scheduler/
        sched-bwc.rst (version 1)
"""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from contextlib import suppress

GIVEN = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
# How many processes mpiexec has started on this machine: of MPICH and Intel MPI, and of Open MPI.
LOCAL_RANKS = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")


def cores(process: int = 0) -> int:
    """Return the number of processors on which a process may run, 0 for this one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(process))
    return os.cpu_count() or 1


def quota(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> int | None:
    """Return how many processors' time the control groups allow, rounded up; None without a limit.

    A limit also holds for the groups inside a group: the own group and all above it count.
    """
    counts = []
    for controllers, path in re.findall(r"^\d+:([^:\n]*):(.*)$", _read(own), re.MULTILINE):
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = f"{root}/cpu" if controllers else root
        for name in ("", *path.split("/")):
            folder += f"/{name}" if name else ""
            if controllers:  # version 1; -1 for no limit
                text = " ".join(_read(f"{folder}/cpu.cfs_{x}_us") for x in ("quota", "period"))
            else:  # version 2: "quota period", or "max period"
                text = _read(f"{folder}/cpu.max")
            numbers = [int(part) for part in text.split() if part.isdecimal()]
            if len(numbers) == 2 and numbers[1]:
                counts.append(max(1, -(-numbers[0] // numbers[1])))
    return min(counts, default=None)


def thread_count() -> int:
    """Return how many threads share work: as many as OpenBLAS has, which reads the same variables.

    `limit_threads` sets the first of them in a container with a limit.
    """
    for name in GIVEN:
        number = os.environ.get(name, "").partition(",")[0].strip()
        if number.isdecimal() and int(number):
            return min(int(number), cores())
    return cores()


def is_intel(name: str = "/sys/devices/system/cpu/modalias") -> bool:
    """Return whether Linux calls the processor one of Intel's, vendor 0 of the architecture x86."""
    return _read(name).startswith("cpu:type:x86,ven0000fam")


def limit_threads(environ: MutableMapping[str, str]) -> None:
    """Set OPENBLAS_NUM_THREADS where OpenBLAS would start too many, unless the user has set it.

    The processes of mpiexec share the quota, and the processors on which their parent may run; each
    may be bound to some of these.
    """
    if any(re.match(r"\s*\+?0*[1-9]", environ.get(name, "")) for name in GIVEN):
        return  # OpenBLAS ignores 0, and a text that is not a number
    given = (environ.get(name, "") for name in LOCAL_RANKS)
    ranks = next((int(text) for text in given if text.isdecimal() and int(text)), 1)
    most, time = cores(), quota()
    limits = [most, most if time is None else time // ranks]
    if ranks > 1:
        with suppress(OSError):  # the parent has ended
            limits.append(cores(os.getppid()) // ranks)
    if min(limits) < most:
        environ["OPENBLAS_NUM_THREADS"] = str(max(1, min(limits)))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
