"""Freed memory is used again without new pages, unless the user wants otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tinybert import heap

# Allocates and frees 64 MB twice; prints how many megabytes of new pages the second time takes.
CODE = """
import resource
import tinybert
import numpy as np

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(2):
    before = faults()
    arrays = [np.ones(1 << 17) for _ in range(64)]  # of 1 MB, too small for huge pages
    taken = faults() - before
    del arrays
print(taken * resource.getpagesize() >> 20)
"""


def megabytes_taken_again(**settings: str) -> int:
    """Run the code above in a new process, with environment variables."""
    kept = {name: value for name, value in os.environ.items() if name not in heap.GIVEN}
    command = [sys.executable, "-c", CODE]
    run = subprocess.run(
        command, env=kept | settings, capture_output=True, text=True, check=True, timeout=60
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_kept_unless_the_user_sets_a_threshold() -> None:
    assert megabytes_taken_again() < 4
    assert megabytes_taken_again(MALLOC_TRIM_THRESHOLD_="131072") > 30


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    heap.keep_freed_memory({})
    monkeypatch.setattr("ctypes.CDLL", None)
    monkeypatch.setattr("sys.platform", "darwin")
    heap.keep_freed_memory({})
    monkeypatch.setattr("sys.platform", "linux")
    heap.keep_freed_memory({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1"})
