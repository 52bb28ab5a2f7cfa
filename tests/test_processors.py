"""The number of threads: of the user, of the processors, of a container's limit, of MPI's ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinybert import processors

NONE = {"/cpu.max": "max 100000\n"}
# name: the process's groups, the files of the control groups, the quota
GROUPS: dict[str, tuple[str, dict[str, str], int | None]] = {
    "v2 without a limit": ("0::/\n", NONE, None),
    "v2 in a container": ("0::/\n", {"/cpu.max": "200000 100000\n"}, 2),
    "v2, rounded up": ("0::/\n", {"/cpu.max": "150000 100000\n"}, 2),
    "v2, less than one": ("0::/\n", {"/cpu.max": "10000 100000\n"}, 1),
    "v2, a group above": ("0::/a/b\n", {"/a/cpu.max": "8 4\n", "/a/b/cpu.max": "max 4\n"}, 2),
    "v2, the smallest": ("0::/a/b\n", {"/a/cpu.max": "9 1", "/a/b/cpu.max": "3 1"}, 3),
    "v2, a path of the host": ("0::/docker/1f\n", {"/cpu.max": "400000 100000\n"}, 4),
    "v1": (
        "7:cpuset:/x\n4:cpu,cpuacct:/x\n1:name=systemd:/x\n0::/\n",
        {"/cpu/x/cpu.cfs_quota_us": "300000\n", "/cpu/x/cpu.cfs_period_us": "100000\n"}, 3,
    ),
    "v1 without a limit": (
        "1:cpu:/\n", {"/cpu/cpu.cfs_quota_us": "-1\n", "/cpu/cpu.cfs_period_us": "100000\n"}, None,
    ),
    "v2, a name that is not UTF-8": ("0::/\udcff\n", {"/cpu.max": "200000 100000\n"}, 2),
    "lines of another form": ("x\n0::/\n", {"/cpu.max": "200000 100000\n"}, 2),
    "no such files": ("0::/\n", {}, None),
    "no groups": ("", NONE, None),
}  # fmt: skip


@pytest.mark.parametrize("name", GROUPS)
def test_the_quota_of_control_groups(name: str, tmp_path: Path) -> None:
    own, files, expected = GROUPS[name]
    (tmp_path / "own").write_bytes(os.fsencode(own))
    for path, text in files.items():
        file = tmp_path / f"groups{path}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert processors.quota(str(tmp_path / "groups"), str(tmp_path / "own")) == expected


MPICH, OPEN_MPI = "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE"


@pytest.mark.parametrize(
    ("environ", "launcher", "allowed", "quota", "expected"),
    [
        ({}, 8, 8, None, None),
        ({}, 8, 8, 3, "3"),
        ({}, 8, 2, 3, None),  # OpenBLAS starts 2
        ({}, 1, 8, None, None),  # the shell is bound, this process is not
        ({"OMP_NUM_THREADS": ""}, 8, 8, 3, "3"),
        ({"OMP_NUM_THREADS": "0", "GOTO_NUM_THREADS": "x"}, 8, 8, 3, "3"),
        ({"OPENBLAS_NUM_THREADS": "0"}, 8, 8, 3, "3"),
        ({"OMP_NUM_THREADS": " 05,2"}, 8, 8, 3, None),
        ({"OMP_NUM_THREADS": "5"}, 8, 8, 3, None),
        ({"GOTO_NUM_THREADS": "5"}, 8, 8, 3, None),
        ({MPICH: "4"}, 8, 8, None, "2"),
        ({OPEN_MPI: "16"}, 8, 8, None, "1"),
        ({OPEN_MPI: "4"}, 8, 2, None, None),  # each is bound to 2 processors of its own
        ({OPEN_MPI: "4"}, 8, 4, None, "2"),  # each pair is bound to 4
        ({MPICH: "2"}, 4, 4, None, "2"),  # `taskset` binds all to 4
        ({OPEN_MPI: "2", MPICH: "x"}, 8, 4, 6, "3"),
        ({MPICH: "1"}, 8, 8, None, None),
    ],
)
def test_blas_gets_no_more_threads_than_processors(
    environ: dict[str, str], launcher: int, allowed: int, quota: int | None, expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(processors, "cores", lambda process=0: launcher if process else allowed)
    monkeypatch.setattr(processors, "quota", lambda: quota)
    processors.limit_threads(environ)
    assert environ.get("OPENBLAS_NUM_THREADS") == expected
    processors.limit_threads(environ)  # a process that this one starts
    assert environ.get("OPENBLAS_NUM_THREADS") == expected


def test_a_number_of_the_user_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "quota", lambda: 1)
    environ = {"OPENBLAS_NUM_THREADS": "9"}
    processors.limit_threads(environ)
    assert environ == {"OPENBLAS_NUM_THREADS": "9"}


SCRIPT = """
import builtins, io, os, sys
class Watch:
    def find_spec(name, *rest):
        if name == "numpy":
            print(os.environ.get("OPENBLAS_THREAD_TIMEOUT"))
sys.meta_path.insert(0, Watch)
real = builtins.open
fakes = {"/proc/self/cgroup": "0::/\\n", "/sys/fs/cgroup/cpu.max": "50000 100000\\n"}
builtins.open = lambda path, *args, **options: (
    io.StringIO(fakes[path]) if LIMITED and path in fakes else real(path, *args, **options)
)
from tinybert.processors import thread_count
from tinybert.bench.machine import blas_threads
print(blas_threads(), thread_count())
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="control groups are Linux's")
@pytest.mark.parametrize(
    ("environ", "limited", "expected"),
    [
        ({}, True, 1),
        pytest.param({"OPENBLAS_THREAD_TIMEOUT": "9"}, True, 1, marks=pytest.mark.slow),
        pytest.param({"OMP_NUM_THREADS": "1,2"}, False, 1, marks=pytest.mark.slow),
        pytest.param({"OPENBLAS_NUM_THREADS": "1"}, False, 1, marks=pytest.mark.slow),
        pytest.param({"OMP_NUM_THREADS": "0"}, True, 1, marks=pytest.mark.slow),
        pytest.param({"OMP_NUM_THREADS": "1000"}, False, None, marks=pytest.mark.slow),
        pytest.param(
            {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "2"}, False, None,
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_blas_and_our_kernels_have_equally_many(
    environ: dict[str, str], limited: bool, expected: int | None
) -> None:
    """In a process of its own, since OpenBLAS reads its settings when NumPy is imported."""
    settings = (*processors.GIVEN, "OPENBLAS_THREAD_TIMEOUT")
    kept = {name: x for name, x in os.environ.items() if name not in settings}
    ran = subprocess.run(
        [sys.executable, "-c", f"LIMITED = {limited}\n{SCRIPT}"],
        env={**kept, **environ}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    timeout, blas, ours = ran.stdout.split()
    assert timeout == environ.get("OPENBLAS_THREAD_TIMEOUT", "14")
    assert ours == blas or blas == "None"
    assert expected is None or int(ours) == expected


def test_the_environment_gives_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {*range(6)}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for text, count in (("4", 4), ("7", 6), ("0", 6), ("", 6), ("4,2", 4), ("x", 6)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert processors.thread_count() == count
    for name, count in (("GOTO_NUM_THREADS", 2), ("OPENBLAS_NUM_THREADS", 3)):
        monkeypatch.setenv(name, str(count))
        assert processors.thread_count() == count


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu:type:x86,ven0000fam0006mod00CF:feature:,0000,0001\n", True),
        ("cpu:type:x86,ven0002fam0019mod0011:feature:,0000,0001\n", False),  # of AMD
        ("cpu:type:aarch64:feature:,0000\n", False),
        (None, False),
    ],
)
def test_the_maker_of_the_processor(text: str | None, expected: bool, tmp_path: Path) -> None:
    if text:
        (tmp_path / "modalias").write_text(text)
    assert processors.is_intel(str(tmp_path / "modalias")) is expected
