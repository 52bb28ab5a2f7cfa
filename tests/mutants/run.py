"""Plant each mutant into a copy of the repository and see whether its tests fail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import ROOT, Mutant

COPIED = ("tinybert", "tests", "tutorials", "README.md", "pyproject.toml", "constraints.txt")
TIMEOUT = 120.0  # seconds for the tests of a mutant; an endless loop counts as caught
TIMEOUT_OF_ALL = 900.0  # for all tests without a fault
PASSED, FAILED, INTERRUPTED, KILLED = 0, 1, 2, -1  # of pytest, and of `worker.run_tests`


@dataclass(frozen=True)
class Outcome:
    """Whether the tests saw a mutant, and how long they took."""

    mutant: Mutant
    caught: bool
    seconds: float


class Copy:
    """A copy of the repository in `folder`, with a process that runs tests in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.txt"  # what pytest printed last
        self._changes = 0
        for name in COPIED:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, folder / name, ignore=ignored)
            else:
                shutil.copy2(ROOT / name, folder / name)
        environment = os.environ | {
            "PYTHONPATH": str(folder),
            "OPENBLAS_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # they import libraries again
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "tests.mutants.worker"],
            cwd=folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def close(self) -> None:
        """End the process."""
        self._worker.kill()
        self._worker.communicate()

    def run(self, nodes: Sequence[str], timeout: float, without_mutant: bool) -> int:
        """Run tests and return pytest's exit code, or KILLED."""
        stdin, stdout = self._worker.stdin, self._worker.stdout
        assert stdin is not None
        assert stdout is not None
        request = [nodes, timeout, str(self.log), without_mutant]
        print(json.dumps(request), file=stdin, flush=True)
        return int(stdout.readline())

    def check_passes(self, nodes: Sequence[str]) -> None:
        """Raise RuntimeError if tests fail without a fault."""
        if nodes and (code := self.run(nodes, TIMEOUT_OF_ALL, True)) != PASSED:
            raise RuntimeError(f"without a mutant pytest ends with {code}:\n{self.log.read_text()}")

    def run_mutated(self, mutant: Mutant) -> Outcome:
        """Plant a fault, run its tests and take the fault out again."""
        path = self.folder / "tinybert" / mutant.file
        original = path.read_bytes()
        start = time.perf_counter()
        self._write(path, mutant.mutated().encode())
        try:
            code = self.run(mutant.nodes, TIMEOUT, False)
        finally:
            self._write(path, original)
        if code not in (PASSED, FAILED, INTERRUPTED, KILLED):
            raise RuntimeError(f"{mutant.tests}: pytest ends with {code}:\n{self.log.read_text()}")
        return Outcome(mutant, code != PASSED, time.perf_counter() - start)

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file with a time of its own: Python knows compiled files by time and size."""
        path.write_bytes(content)
        self._changes += 1
        os.utime(path, (10**9 + self._changes,) * 2)


def run_mutants(
    mutants: Sequence[Mutant],
    report: Callable[[Outcome], object] = lambda outcome: None,
    workers: int = 2,
) -> list[Outcome]:
    """Run the tests of all mutants, first without and then with each fault.

    `report` is called after each mutant; `workers` copies of the repository are used at once.

    Raises ValueError if a mutant does not fit the source, and RuntimeError if tests fail without a
    mutant.
    """
    for mutant in mutants:
        mutant.line()
    nodes = sorted({node for mutant in mutants for node in mutant.nodes})
    waiting, outcomes = deque(mutants), list[Outcome]()

    def work(number: int) -> None:
        copy = Copy(Path(tempfile.mkdtemp(dir=folder)))
        try:
            copy.check_passes(nodes[number::workers])
            while waiting:
                outcomes.append(copy.run_mutated(waiting.popleft()))
                report(outcomes[-1])
        except BaseException:
            waiting.clear()  # the other workers stop too
            raise
        finally:
            copy.close()

    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        ThreadPoolExecutor(workers) as pool,
    ):
        list(pool.map(work, range(workers)))
    return sorted(outcomes, key=lambda outcome: mutants.index(outcome.mutant))
