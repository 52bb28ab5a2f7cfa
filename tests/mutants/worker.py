"""Run tests again and again, each time in a fork of a process that has imported torch already.

Started by `tests/mutants/run.py` in a copy of the repository. Importing torch and transformers
takes longer than most tests; a fork inherits them and imports only the package and its tests.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

# Libraries of the tests; none of them may import tinybert.
LIBRARIES = ("torch", "transformers", "hypothesis.extra.numpy", "tokenizers", "safetensors.numpy",
             "h5py", "yaml", "jinja2", "msgpack", "matplotlib.figure")  # fmt: skip
ORACLES = ("BertForMaskedLM", "MegatronBertForMaskedLM", "NemotronForCausalLM", "BertTokenizerFast",
           "EncoderDecoderModel")  # fmt: skip
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=",
           "--import-mode=importlib", "-m", "not slow")  # fmt: skip


def preload() -> None:
    """Import the libraries that are installed, and transformers' models, which load lazily."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in ORACLES:
        getattr(sys.modules.get("transformers"), name, None)


class QuickFirst:
    """A plugin of pytest: within a file the tests that took the least time run first.

    The times are those of the runs without a mutant, in `folder`, where `save` adds those of this
    run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.times: dict[str, float] = {}
        for path in folder.glob("times-*.json"):
            self.times |= json.loads(path.read_text())

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        files = list(dict.fromkeys(item.path for item in items))
        items.sort(key=lambda i: (files.index(i.path), self.times.get(i.nodeid, 0.0)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.times[report.nodeid] = report.duration

    def save(self) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False) as file:
            json.dump(self.times, file)
        os.replace(file.name, self.folder / f"times-{os.getpid()}.json")


def run_tests(nodes: list[str], timeout: float, log: str, without_mutant: bool) -> int:
    """Run the tests `nodes` in a fork and return pytest's exit code, 0 if all pass.

    A process that a signal ends, or that takes more than `timeout` seconds, gives -1.
    """
    child = os.fork()
    if child == 0:
        code = 3  # pytest's own for an internal error
        try:
            os.setsid()  # so that a kill also reaches the processes that tests start
            with open(log, "wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            order = QuickFirst(Path.cwd().parent)
            temporary = Path(".basetemp").absolute()  # of the fixture tmp_path
            code = int(pytest.main([*OPTIONS, f"--basetemp={temporary}", *nodes], [order]))
            sys.stdout.flush()
            if without_mutant:
                order.save()
        finally:
            os._exit(code)
    deadline = time.monotonic() + timeout
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else -1
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -1
        time.sleep(0.02)


def main() -> None:
    """Answer each line of JSON on standard input, the arguments of `run_tests`, with its result."""
    preload()
    for line in sys.stdin:
        print(run_tests(*json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
