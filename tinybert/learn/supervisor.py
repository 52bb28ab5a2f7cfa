"""Run a learner's code in a child process, and survive whatever it does.

The child has limits of time and memory, no network and no other programs (see `child.py`). A child
that ends without a result has failed: nothing that the learner's code does is a pass.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tinybert.fetch import FetchError
from tinybert.learn.catalogue import task_of
from tinybert.learn.grader import Report

SECONDS, MODEL_SECONDS = 20.0, 120.0  # for one check, and for a run of all models
START = 15.0  # seconds that the child may take to start, and to end after its time limit
PRINTED = 4_000  # bytes that are kept of what the learner's code prints
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
PACKAGES = Path(__file__).parents[2]  # a child that starts there imports this package

Heard = Callable[[dict[str, Any]], None]


def run_check(
    name: str, path: str | os.PathLike[str], seconds: float = SECONDS, heard: Heard = lambda _: None
) -> Report:
    """Check the file at `path` as a solution of the exercise `name`, in a child process.

    Args:
        name: an exercise, as "loss/softmax".
        path: exactly this file is run.
        seconds: the child is killed after this time.
        heard: is called before each case, with a dict of "stage", "call" and "passed".

    Raises:
        FetchError: the check runs the code in a model that is not on this machine.
        RuntimeError: the check itself failed, which is a fault of this package.
    """
    task = task_of(name)
    path = os.path.abspath(path)
    latest: dict[str, Any] = {}

    def hear(message: dict[str, Any]) -> None:
        latest.update(message)
        heard(message)

    ended = supervise(["check", task.name, path, str(seconds)], seconds, hear)
    printed = ended.printed.replace(path, os.path.basename(path))  # as in warnings
    if ended.result is not None:
        found = Report(**ended.result | {"printed": printed})
        if found.mistake is not None:
            found.mistake = (found.mistake[0], found.mistake[1])  # JSON has lists only
        return found
    report = Report(latest.get("passed", {}), "runs", latest.get("call", ""))
    report.where, report.printed = _line(ended.trace, path), printed
    if ended.is_late:
        report.stage, report.lines = "ends", [f"it did not end within {seconds:g} seconds"]
        mutants = [m for m in task.exercise.mutants if m.stage == "ends"]
        if mutants:
            report.mistake = (mutants[0].name, mutants[0].explanation)
    else:
        report.lines = [_reason(ended.code)]
    return report


def run_in_models(
    name: str, path: str | os.PathLike[str], heard: Heard = lambda _: None
) -> list[dict[str, Any]]:
    """Put the code of a file into each model that is here, in a child process (`inside.py`)."""
    arguments = ["model", task_of(name).name, os.path.abspath(path), str(MODEL_SECONDS)]
    ended = supervise(arguments, MODEL_SECONDS, heard)
    if ended.result is not None:
        return ended.result
    late = f"it did not end within {MODEL_SECONDS:g} seconds"
    return [{"model": "", "error": late if ended.is_late else _reason(ended.code)}]


@dataclass
class Ended:
    """What a child left.

    Attributes:
        result: what it sent, or None.
        code: its exit code, negative for a signal.
        is_late: whether it was stopped because its time was over.
        trace: where the code was when it crashed or was stopped, in Python's words.
        printed: the beginning of what the learner's code printed.
    """

    result: Any = None
    code: int = 0
    is_late: bool = False
    trace: list[str] = field(default_factory=list)
    printed: str = ""


def supervise(arguments: list[str], seconds: float, heard: Heard) -> Ended:
    """Run `child.py` until it has a result, ends, or its time is over; leave no process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tinybert.learn.child", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=PACKAGES, env={**os.environ, **ONE_THREAD}, start_new_session=sys.platform != "win32",
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    lines: queue.Queue[bytes] = queue.Queue()
    printed = _Beginning(process.stderr)
    messages = threading.Thread(target=_pass_on, args=(process.stdout, lines), daemon=True)
    messages.start()
    ended = Ended()
    try:
        _listen(lines, seconds + START, heard, ended)
        if not ended.is_late:
            ended.code = _code(process)
    finally:
        _kill(process)
        messages.join(1)  # a stream stays open if a process has escaped
        ended.printed = printed.text()
    return ended


def _listen(lines: queue.Queue[bytes], seconds: float, heard: Heard, ended: Ended) -> None:
    """Read the messages of a child until it has a result, is late, or ends."""
    until = time.monotonic() + seconds
    while ended.result is None:
        try:
            line = lines.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            ended.is_late = True
            return
        if not line:
            return
        if not line.startswith(b"{"):  # of Python's faulthandler
            ended.trace.append(line.decode("ascii", "replace"))
            ended.is_late = ended.is_late or line.startswith(b"Timeout")
            continue
        message = json.loads(line)
        if "missing" in message:
            raise FetchError(message["missing"])
        if "fault" in message:
            raise RuntimeError(f"the check failed:\n{message['fault']}")
        ended.result = message.get("result")
        if ended.result is None:
            heard(message)


def _pass_on(stream: IO[bytes], lines: queue.Queue[bytes]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(b"")


class _Beginning:
    """The first bytes of a stream; the rest is read and counted, so that the writer can go on."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.kept, self.dropped = stream, b"", 0
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with self.stream:
            while data := os.read(self.stream.fileno(), 1 << 16):
                free = PRINTED - len(self.kept)
                self.kept += data[:free]
                self.dropped += len(data[free:])

    def text(self) -> str:
        self.thread.join(1)
        text = self.kept.decode("utf-8", "replace").rstrip("\n")
        return f"{text}\n... and {self.dropped:,} more bytes" if self.dropped else text


def _code(process: subprocess.Popen[bytes]) -> int:
    """Return the exit code of a child that has said all it had to say."""
    try:
        return process.wait(1)
    except subprocess.TimeoutExpired:  # it has closed its output, and goes on
        return 0


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a child and the processes that it has started."""
    try:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # it has ended; macOS gives the latter
        return
    finally:
        process.wait()


def _reason(code: int) -> str:
    """Say how a child ended that sent no result."""
    if code < 0:
        name = signal.Signals(-code).name
        if name == "SIGKILL":
            return "the system ended Python (SIGKILL): it took too much memory"
        if name == "SIGINT":
            return "your code raises KeyboardInterrupt"
        return f"Python crashed ({name}): does your code call itself without end?"
    return (
        f"your code ended the program with exit code {code} before the check was done; "
        "return the result instead"
    )


def _line(trace: list[str], path: str) -> str:
    """Return the innermost line of the learner's file in a report of Python's faulthandler."""
    shown = path.encode("ascii", "backslashreplace").decode()
    for line in trace:
        if found := re.match(rf'  File "{re.escape(shown)}", line (\d+)', line):
            number = int(found[1])
            try:
                lines = Path(path).read_text("utf-8-sig").splitlines()
            except (OSError, ValueError):  # changed since
                lines = []
            text = lines[number - 1].strip() if number <= len(lines) else ""
            return f"line {number}: {text}" if text else f"line {number}"
    return ""
