"""The process in which a learner's code runs: `python -m tinybert.learn.child TASK ...`.

It writes one JSON object a line to the standard output that it was started with; what the learner's
code prints goes to standard error. `supervisor.py` starts it and reads both.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from tinybert.checks import plain
from tinybert.fetch import FetchError
from tinybert.learn.catalogue import task_of
from tinybert.learn.exercise import Case
from tinybert.learn.grader import Report, describe, grade

MEMORY = 2 << 30  # bytes of addresses; a check in MiniLM takes 0.4e9, two records of it 1.5e9
# An orphan ends by itself: seconds after the time limit.
GRACE = 15
# Events of Python's audit hooks, by their beginnings.
REFUSED = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn",
    "os.startfile", "os.kill",
)  # fmt: skip


def main(arguments: list[str]) -> None:
    """Grade a file, or run it in a model, and send the result."""
    kind, name, path, seconds = arguments
    channel = _take_channel()
    process = os.getpid()

    def send(message: dict[str, Any]) -> None:
        if os.getpid() == process:  # a copy of the process has nothing to say
            channel.write(json.dumps(plain(message)) + "\n")
            channel.flush()

    sys.argv = [path]
    with contextlib.suppress(OSError):  # without a folder there is no file: the check says so
        os.chdir(os.path.dirname(path))
    _limit(float(seconds), channel)
    try:
        send({"result": KINDS[kind](name, Path(path), send)})
    except FetchError as error:
        send({"missing": str(error)})
    except Exception:  # a fault of the check: it would look like one of the learner
        send({"fault": traceback.format_exc()})
    sys.stdout.flush()
    os._exit(0)  # threads of the learner's code do not count


def _take_channel() -> IO[str]:
    """Return the standard output as a file of our own; what is printed goes to standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    return channel


def _limit(seconds: float, channel: IO[str]) -> None:
    """Bound time and memory, and refuse the network and other programs.

    Windows has neither an alarm nor a bound of memory, and macOS ignores the latter: there the time
    limit is the only one.
    """
    faulthandler.enable(channel)
    faulthandler.dump_traceback_later(seconds, exit=True, file=channel)
    if sys.platform != "win32":
        import resource

        signal.alarm(int(seconds) + GRACE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some bounds
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: Any) -> None:
    if event.startswith(REFUSED):
        raise PermissionError("an exercise needs no network and no other process")


def _check(name: str, path: Path, send: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    def before(report: Report, case: Case) -> None:
        send({"call": describe(case), "stage": case.stage, "passed": report.passed})

    return asdict(grade(task_of(name), path, before))


def _run_in_models(
    name: str, path: Path, send: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    from tinybert.learn.inside import run_in_models

    return run_in_models(task_of(name), path, lambda model: send({"model": model}))


KINDS: dict[str, Callable[..., Any]] = {"check": _check, "model": _run_in_models}

if __name__ == "__main__":
    main(sys.argv[1:])
