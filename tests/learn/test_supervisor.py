"""A check survives a learner's code, runs that code and no other, and never passes by accident."""

from __future__ import annotations

import os
import py_compile
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tinybert.learn import supervisor
from tinybert.learn.catalogue import NAMES, task_of
from tinybert.learn.exercise import Mutant
from tinybert.learn.grader import Report
from tinybert.learn.supervisor import run_check

NAME = "loss/softmax"
TASK = task_of(NAME)
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such call")


@pytest.fixture(autouse=True)
def without_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The last stage needs a model of 91 MB: here a check ends with the reason, and has no time."""
    monkeypatch.setenv("TINYBERT_HOME", str(tmp_path / "no models"))


def inside(code: str) -> str:
    """The solution, with lines of code at the beginning of the function."""
    head, marked, tail = TASK.solution.partition("    e = np.exp")
    assert marked
    return head + "".join(f"    {line}\n" for line in code.split("\n")) + marked + tail


def wrong(code: str = "") -> str:
    """A file that does not pass, with lines of code at its end."""
    return TASK.exercise.mutants[2].apply(TASK.solution) + f"\n{code}\n"


def checked(tmp_path: Path, source: str | bytes, seconds: float = 30) -> Report:
    path = tmp_path / "softmax.py"
    path.write_bytes(source.encode() if isinstance(source, str) else source)
    return run_check(NAME, path, seconds)


# --- what a learner's code may do ----------------------------------------------------------------

HOSTILE = {
    # name: (source, stage, a part of the lines, a part of the learner's own line)
    "os._exit": (inside("import os; os._exit(0)"), "runs", "exit code 0 before", ""),
    "sys.exit": (inside("raise SystemExit(0)"), "values", "calls exit()", "raise SystemExit(0)"),
    "exits when it is loaded": ("import sys\nsys.exit(0)\n", "runs", "calls exit()", "sys.exit(0)"),
    "interrupts": (inside("raise KeyboardInterrupt"), "runs", "", ""),
    "reads the terminal": (inside("input()"), "values", "EOFError", "input()"),
    "uses the network": (
        inside("import socket\nsocket.create_connection(('127.0.0.1', 9))"),
        "values", "no network", "create_connection",
    ),
    "starts a program": (
        inside("import subprocess\nsubprocess.run(['true'])"),
        "values", "no other process", "subprocess.run",
    ),
    "recursion": (inside("f = lambda: f()\nf()"), "values", "RecursionError", "f = lambda: f()"),
    "prints much and fails": (wrong("print('x' * 1000)\n" * 9), "values", "expected", ""),
}  # fmt: skip
HOSTILE_ON_POSIX = {
    "forks": (inside("import os; os.fork()"), "values", "no other process", "os.fork()"),
    "crashes": (inside("import ctypes; ctypes.string_at(0)"), "runs", "SIGSEGV", "string_at"),
    "kills itself": (inside("import signal; signal.raise_signal(9)"), "runs", "SIGKILL", ""),
}
QUICK = {"os._exit", "forks"}
ALL = [
    pytest.param(*case, id=name, marks=[*marks, *([] if name in QUICK else [pytest.mark.slow])])
    for cases, marks in ((HOSTILE, []), (HOSTILE_ON_POSIX, [posix_only]))
    for name, case in cases.items()
]


@pytest.mark.parametrize(("source", "stage", "line", "where"), ALL)
def test_what_is_no_result_is_no_pass(
    source: str, stage: str, line: str, where: str, tmp_path: Path
) -> None:
    report = checked(tmp_path, source)
    assert (report.stage, report.is_passed) == (stage, False)
    assert line in report.lines[0]
    assert where in report.where


def test_a_loop_without_end_is_stopped_at_its_line(tmp_path: Path) -> None:
    before = time.monotonic()
    report = checked(tmp_path, inside("while True:\n    x = x"), 1)
    assert time.monotonic() - before < 1 + supervisor.START
    assert report.stage == "ends"
    assert report.lines == ["it did not end within 1 seconds"]
    assert report.call == "softmax(x: float64 (3, 3, 5))"
    assert report.where in ("line 18: while True:", "line 19: x = x")


ENDLESS = [
    pytest.param(name, mutant, id=f"{name}-{mutant.name}")
    for name in NAMES
    for mutant in task_of(name).exercise.mutants
    if mutant.stage == "ends"
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mutant"), ENDLESS)
def test_a_known_mistake_that_never_ends_is_named(
    name: str, mutant: Mutant, tmp_path: Path
) -> None:
    path = tmp_path / "student.py"
    path.write_text(mutant.apply(task_of(name).solution))
    report = run_check(name, path, 3)
    assert report.stage == "ends"
    assert report.mistake == (mutant.name, mutant.explanation)


@pytest.mark.slow
@pytest.mark.parametrize("code", ["import time; time.sleep(99)", "b'a' in b'a' * 10**8 + b'b'"])
def test_waiting_is_stopped_too(code: str, tmp_path: Path) -> None:
    assert checked(tmp_path, inside(f"while True: {code}"), 2).stage == "ends"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="this system does not bound memory")
def test_memory_is_bounded(tmp_path: Path) -> None:
    report = checked(tmp_path, inside("kept = []\nwhile True: kept.append(bytes(10**7))"))
    assert report.lines[0].startswith("MemoryError: your code takes more memory")


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "import os; os._exit(0)", "raise ValueError('after')"])
def test_a_hundred_megabytes_printed_do_no_harm(end: str, tmp_path: Path) -> None:
    code = "import sys\nprint('first')\nfor _ in range(100): print('x' * 1_000_000)\n"
    report = checked(tmp_path, wrong(f"{code}print('last', file=sys.stderr)\n{end}"))
    assert not report.is_passed
    first, *_, last = report.printed.split("\n")
    assert first == "first"
    assert len(report.printed) < 2 * supervisor.PRINTED
    assert 99_000_000 < int(last.split()[2].replace(",", "")) < 101_000_000


@posix_only
@pytest.mark.slow
def test_no_process_is_left(tmp_path: Path) -> None:
    """A copy of the process that Python does not see, made in C, which goes on for ever."""
    pid = tmp_path / "pid"
    code = (
        "import ctypes, os\nif ctypes.CDLL(None).fork() == 0:\n"
        f"    open({str(pid)!r}, 'w').write(str(os.getpid()))\n    while True: pass\n"
        f"while not (os.path.exists({str(pid)!r}) and os.path.getsize({str(pid)!r})): pass"
    )
    assert checked(tmp_path, wrong(code)).stage == "values"
    for _ in range(600):  # the system ends it when it has the time
        try:
            os.kill(int(pid.read_text()), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    raise AssertionError("the copy still ran")


# --- the faults of other graders -----------------------------------------------------------------


def test_the_file_of_the_learner_is_what_runs(tmp_path: Path) -> None:
    """Not the reference, not a module of the same name, and not what was compiled before."""
    path = tmp_path / "softmax.py"
    path.write_text(TASK.solution)
    py_compile.compile(str(path))
    times = path.stat()
    path.write_text(wrong())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    report = run_check(NAME, path)
    assert report.stage == "values"
    assert report.mistake is not None
    assert report.mistake[0] == "always the last axis"


BAD_FILES = {
    "syntax": (b"def softmax(x:\n", "was never closed"),
    "untouched": (TASK.blank.encode(), "not written yet: the TODO is in line 17"),
    "touched": (TASK.blank.replace("\n", "\r\n").encode(), "not written yet"),
    "empty": (b"", "softmax is not defined"),
    "not UTF-8": (b"# caf\xe9\n", "is not UTF-8 text (at byte 5)"),
    "bytes of zero": (b"\0" * 100, "null bytes"),
    "large": (b"#" * 100_000_000, "100000000 bytes are too many"),
    "reference": (b"from scipy.special import softmax\n", "is what you are building"),
}


@pytest.mark.parametrize(
    ("source", "line"),
    [
        pytest.param(*case, id=name, marks=[] if name == "syntax" else pytest.mark.slow)
        for name, case in BAD_FILES.items()
    ],
)
def test_a_file_that_cannot_be_graded(source: bytes, line: str, tmp_path: Path) -> None:
    report = checked(tmp_path, source)
    assert report.stage == "runs"
    assert line in report.lines[0]


@pytest.mark.slow
def test_what_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "softmax.py"
    assert "No such file" in run_check(NAME, path).lines[0]
    path.mkdir()
    assert "is not a regular file" in run_check(NAME, path).lines[0]
    path.rmdir()
    if sys.platform != "win32":
        path.symlink_to(path)
        assert "symbolic links" in run_check(NAME, path).lines[0]
        path.unlink()
        os.mkfifo(path)
        assert "is not a regular file" in run_check(NAME, path).lines[0]


@pytest.mark.slow
def test_names_and_folders_of_any_kind(tmp_path: Path) -> None:
    """Modules of the learner's folder do not take the place of others."""
    folder = tmp_path / "Übung (1) 東京"
    folder.mkdir()
    (folder / "numpy.py").write_text("raise RuntimeError")
    (folder / "json.py").write_text("raise RuntimeError")
    path = folder / "my softmax.py"
    path.write_text(inside("1 / 0"))
    report = run_check(NAME, path)
    assert (report.lines[0], report.where) == (
        "ZeroDivisionError: division by zero", "line 18: 1 / 0"
    )  # fmt: skip
    path.write_text(inside("while True: pass"))
    assert run_check(NAME, path, 2).where == "line 18: while True: pass"


@posix_only
@pytest.mark.slow
def test_an_interrupted_check_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C while the learner's code runs."""
    pid = tmp_path / "pid"
    path = tmp_path / "softmax.py"
    path.write_text(
        f"import os\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\nwhile True: pass\n"
    )

    def interrupt(message: object) -> None:
        raise AssertionError("there is no case to begin")

    def when_it_runs() -> None:
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.05)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    try:
        threading.Thread(target=when_it_runs, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            run_check(NAME, path, heard=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
