"""A learner's course: its files are made, checked and reset, and its progress is kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tinybert.atomic import atomic_write
from tinybert.learn import progress
from tinybert.learn.catalogue import task_of
from tinybert.learn.grader import Report
from tinybert.learn.supervisor import Heard, run_check


def start(folder: Path, fast: bool | None = None, first: str | None = None) -> tuple[int, int]:
    """Make the files of a course that are not there; return how many are new, and how many old.

    Args:
        folder: is created; files in it are never overwritten.
        fast: whether it is the short course; None leaves a course that was begun as it is.
        first: the exercise to begin with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with progress.changing(folder) as course:
        course.fast = course.fast if fast is None else fast
        course.first = first or course.first
        names = course.names
    new = 0
    for name in names:
        path = course.path(name)
        path.parent.mkdir(exist_ok=True)
        if not os.path.lexists(path):
            _write_blank(path, name)
            new += 1
    return new, len(names) - new


def check(folder: Path, name: str, heard: Heard = lambda _: None) -> Report:
    """Check the file of an exercise in a child process, and keep the result."""
    path = progress.Progress(folder).path(name)
    sha256 = progress.sha256_of(path)  # before: what is saved during the check is not checked
    report = run_check(name, path, heard=heard)
    with progress.changing(folder) as course:
        course.checked(name, sha256 if report.is_passed else None)
    return report


def is_blank(path: Path, name: str) -> bool:
    """Return whether a file is as it was made."""
    try:
        return path.read_bytes() == task_of(name).blank.encode()
    except OSError:
        return False


def hint(folder: Path, name: str) -> list[str]:
    """Return the hints of an exercise that were read, and one more if there is one."""
    hints = task_of(name).exercise.hints
    with progress.changing(folder) as course:
        entry = course.entries.setdefault(name, progress.Entry())
        entry.hints = min(entry.hints + 1, len(hints))
        return list(hints[: entry.hints])


def solution(folder: Path, name: str) -> tuple[str, bool]:
    """Return the solution, and whether the exercise is marked as shown: it was not passed yet."""
    with progress.changing(folder) as course:
        entry = course.entries.setdefault(name, progress.Entry())
        if not entry.is_done:
            entry.state, entry.sha256 = "shown", None
        return task_of(name).answer, entry.state == "shown"


def reset(folder: Path, name: str) -> Path | None:
    """Put the blank back; return the copy of the learner's file, None if there was none."""
    with progress.changing(folder) as course:
        path = course.path(name)
        backup = None
        if os.path.lexists(path) and not is_blank(path, name):
            numbers = (path.with_name(f"{path.name}.{n}") for n in range(1, 10_000))
            backup = next(copy for copy in numbers if not os.path.lexists(copy))
            shutil.copyfile(path, backup)
        path.parent.mkdir(exist_ok=True)
        _write_blank(path, name)
        course.reset(name)
    return backup


def _write_blank(path: Path, name: str) -> None:
    with atomic_write(path, "w") as file:
        file.write(task_of(name).blank)


def resolve(name: str) -> str:
    """Return the full name of an exercise that is given by its name or its file's path."""
    parts = name.removesuffix(".py").replace("\\", "/").split("/")
    return task_of("/".join(parts[-2:])).name
