"""Progress is kept: by several processes at once, after a kill, and never by guessing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinybert.learn import course, progress
from tinybert.learn.catalogue import NAMES, task_of
from tinybert.learn.progress import FOLDER, Entry, NoCourse, Progress, changing, find_folder, load

NAME = "loss/softmax"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    course.start(tmp_path)
    return tmp_path


def pass_(folder: Path, name: str = NAME) -> None:
    """Record that the file as it is has passed."""
    with changing(folder) as found:
        found.checked(name, progress.sha256_of(found.path(name)))


def fail(folder: Path) -> None:
    with changing(folder) as found:
        found.checked(NAME, None)


# --- the course ----------------------------------------------------------------------------------


def test_a_start_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.py"
    path.parent.mkdir()
    path.write_text("mine")
    assert course.start(tmp_path) == (len(NAMES) - 1, 1)
    assert path.read_text() == "mine"
    for name in NAMES:
        if name != NAME:
            assert (tmp_path / f"{name}.py").read_bytes() == task_of(name).blank.encode()
    assert course.start(tmp_path) == (0, len(NAMES))


def test_a_fresh_course_has_everything_pending(folder: Path) -> None:
    found = load(folder)
    assert [found[name] for name in NAMES] == [Entry()] * len(NAMES)
    assert not any(found.state(name) for name in NAMES)
    assert found.following() == NAMES[0]


def test_the_order_begins_where_it_is_asked_to(folder: Path) -> None:
    course.start(folder, first=NAME)
    found = load(folder)
    place = NAMES.index(NAME)
    assert found.names == NAMES[place:] + NAMES[:place]
    assert found.following() == NAME
    pass_(folder)
    assert load(folder).following() == found.names[1]
    assert load(folder).following(found.names[-1]) == found.names[1]  # round to the beginning
    for name in NAMES:
        pass_(folder, name)
    assert load(folder).following() is None


def test_the_short_course(tmp_path: Path) -> None:
    short = [
        f"{chapter}/{name}" for chapter, names in progress.FAST.items() for name in names.split()
    ]
    assert len(NAMES) == 63
    assert len(short) == len(set(short)) == 20
    course.start(tmp_path, fast=True)
    found = load(tmp_path)
    assert found.names == [name for name in NAMES if name in short]
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.py")} == {
        f"{name}.py" for name in found.names
    }
    course.start(tmp_path)  # goes on with the course that was begun
    assert load(tmp_path).fast


def test_the_folder_is_found_from_inside_and_from_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoCourse, match=r"no exercises here: run `tinybert exercises start`"):
        find_folder(None)
    course.start(Path(FOLDER))
    assert find_folder(None) == Path(FOLDER)
    monkeypatch.chdir(tmp_path / FOLDER / "loss")
    assert find_folder(None) == Path("..")
    assert find_folder(str(tmp_path / FOLDER)) == tmp_path / FOLDER
    with pytest.raises(NoCourse, match=r"no exercises in 'elsewhere'"):
        find_folder("elsewhere")


# --- states --------------------------------------------------------------------------------------


def test_tried_passed_changed_broken(folder: Path) -> None:
    path = folder / f"{NAME}.py"
    fail(folder)
    assert (load(folder)[NAME], load(folder).state(NAME)) == (Entry("tried", 1), "tried")
    path.write_text("solved")
    pass_(folder)
    assert load(folder)[NAME].is_done
    assert load(folder).state(NAME) == "passed"
    path.write_text("changed")
    assert load(folder).state(NAME) == "passed; changed since"
    fail(folder)
    assert load(folder).state(NAME) == "passed, now broken"
    assert not load(folder)[NAME].is_done
    path.write_text("solved")
    pass_(folder)
    assert (load(folder).state(NAME), load(folder)[NAME].attempts) == ("passed", 4)
    path.unlink()
    assert load(folder).state(NAME) == "file missing"


def test_a_solution_that_was_shown_stays_marked(folder: Path) -> None:
    assert course.solution(folder, NAME) == (task_of(NAME).answer, True)
    assert load(folder).state(NAME) == "solution shown"
    assert not load(folder)[NAME].is_done
    fail(folder)
    pass_(folder)
    assert load(folder).state(NAME) == "passed, solution shown"
    assert load(folder)[NAME].is_done
    course.reset(folder, NAME)
    assert load(folder).state(NAME) == "solution shown"


def test_a_solution_after_passing_marks_nothing(folder: Path) -> None:
    pass_(folder)
    assert course.solution(folder, NAME) == (task_of(NAME).answer, False)
    assert load(folder).state(NAME) == "passed"


def test_hints_come_one_by_one(folder: Path) -> None:
    hints = list(task_of(NAME).exercise.hints)
    seen = [course.hint(folder, NAME) for _ in range(len(hints) + 1)]
    assert seen == [*(hints[: n + 1] for n in range(len(hints))), hints]
    assert load(folder)[NAME].hints == len(hints)


def test_a_reset_keeps_copies(folder: Path) -> None:
    path = folder / f"{NAME}.py"
    assert course.reset(folder, NAME) is None  # there is nothing of the learner's in it
    for number, text in ((1, "first"), (2, "second")):
        path.write_text(text)
        copy = course.reset(folder, NAME)
        assert copy == path.with_name(f"softmax.py.{number}")
        assert copy.read_text() == text
        assert path.read_text() == task_of(NAME).blank
    path.unlink()
    assert course.reset(folder, NAME) is None
    assert path.read_text() == task_of(NAME).blank


# --- the file ------------------------------------------------------------------------------------

ENTRY = {"state": "tried", "attempts": 1, "hints": 0, "sha256": None}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "is damaged"),
        ('{"schema": 1, "fast"', "is damaged"),
        ("[]", "it is not an object"),
        ("[" * 100_000, "is damaged"),
        ("{}", "schema must be an integer >= 1, got None"),
        ('{"schema": true}', "schema must be an integer"),
        ('{"schema": 2}', r"a newer tinybert has written it \(schema 2\): update yours"),
        ('{"schema": 1, "fast": 3}', "fast must be True or False, got 3"),
        ('{"schema": 1, "fast": false, "first": 3}', "first must be a text or null"),
        ('{"schema": 1, "fast": false}', "it has no exercises"),
        *(
            (json.dumps({"schema": 1, "fast": False, "exercises": {NAME: entry}}), fault)
            for entry, fault in (
                (3, f"{NAME} must have attempts, hints, sha256, state"),
                ({}, f"{NAME} must have attempts, hints, sha256, state"),
                ({**ENTRY, "state": "won"}, "must be one of 'new', 'tried', 'passed', 'shown'"),
                ({**ENTRY, "attempts": -1}, f"attempts of {NAME} must be an integer >= 0"),
                ({**ENTRY, "sha256": 5}, f"sha256 of {NAME} must be a text or null"),
            )
        ),
    ],
)
def test_a_damaged_file_is_an_error_and_stays(folder: Path, content: str, fault: str) -> None:
    path = folder / ".tinybert" / "progress.json"
    path.write_text(content)
    for use in (load, lambda where: course.hint(where, NAME), course.start):
        with pytest.raises(ValueError, match=rf"progress\.json: .*{fault}"):
            use(folder)
    assert path.read_text() == content


def test_entries_of_exercises_that_are_gone_are_kept(folder: Path) -> None:
    with changing(folder) as found:
        found.entries["tape/of_old"] = Entry("passed", 2, 1, "ab")
    fail(folder)
    assert load(folder).entries["tape/of_old"] == Entry("passed", 2, 1, "ab")


COUNT = """
import sys
from pathlib import Path
from tinybert.learn.progress import changing
for _ in range(int(sys.argv[2])):
    with changing(Path(sys.argv[1])) as found:
        found.checked("loss/softmax", None)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
def test_processes_that_write_at_once_lose_nothing(folder: Path) -> None:
    command = [sys.executable, "-c", COUNT, str(folder), "25"]
    for process in [subprocess.Popen(command) for _ in range(4)]:
        assert process.wait() == 0
    assert load(folder)[NAME].attempts == 100


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
def test_a_kill_at_any_moment_loses_nothing(folder: Path) -> None:
    pass_(folder, NAMES[0])
    before = 0
    for seed in range(12):
        command = [sys.executable, "-c", COUNT, str(folder), "1000000"]
        with subprocess.Popen(command) as process:
            while load(folder)[NAME].attempts == before:
                time.sleep(0.01)
            time.sleep(random.Random(seed).random() / 50)
            os.kill(process.pid, signal.SIGKILL)
        found: Progress = load(folder)
        assert found[NAMES[0]].is_done
        assert found[NAME].attempts > before
        before = found[NAME].attempts
