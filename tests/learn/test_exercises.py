"""Every exercise: its blank fails, its solution passes, and each known mistake is rejected where it
is declared, and named.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tinybert.learn.catalogue import NAMES, task_of
from tinybert.learn.differences import difference
from tinybert.learn.exercise import ROOT, STAGES, Mutant, Task
from tinybert.learn.grader import Report, grade, load
from tinybert.learn.patches import Patch
from tinybert.learn.plugged import answers_with

# Mutants that never end, or need a model, have tests of their own.
MUTANTS = [
    (name, mutant)
    for name in NAMES
    for mutant in task_of(name).exercise.mutants
    if mutant.stage not in ("ends", "model")
]
IDS = [f"{name}-{mutant.name}" for name, mutant in MUTANTS]
# These take a second: they run a whole model.
QUICK = [name for name in NAMES if task_of(name).plug is None]


def check(task: Task, source: str, folder: Path) -> Report:
    path = folder / "student.py"
    path.write_text(source, encoding="utf-8")
    return grade(task, path)


def without_model(task: Task) -> Task:
    return Task(task.name, task.exercise, task.check, None)


def test_the_catalogue_has_every_file_once() -> None:
    checks = ROOT.parent / "checks"
    for folder in (ROOT, checks):
        files = {p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.py")}
        assert files == set(NAMES)
    assert len(NAMES) == len(set(NAMES))
    shorts = [name.partition("/")[2] for name in NAMES]
    assert len(shorts) == len(set(shorts)), "a name without its chapter must be enough"


@pytest.mark.parametrize("name", NAMES)
def test_the_text_of_an_exercise(name: str) -> None:
    task = task_of(name)
    blank, solution = task.blank, task.solution
    assert blank.count("raise NotImplementedError") == blank.count("# TODO") == 1
    assert "NotImplementedError" not in solution
    assert len(blank.split("\n")) <= 60
    before, _, after = task.source.partition("    # --- solution\n")
    after = after.partition("# --- end\n")[2]
    for text in (blank, solution):  # they differ between the marks alone
        assert text.startswith(before.rstrip(" "))
        assert text.endswith(after)
    assert 1 <= task.exercise.level <= 5
    assert 1 <= len(task.exercise.hints) <= 3
    assert len(task.exercise.mutants) >= 5
    lines = [line.strip() for line in task.answer.split("\n")]
    for hint in task.exercise.hints:
        assert not [line for line in lines if len(line) > 8 and line in hint]


@pytest.mark.parametrize("name", NAMES)
def test_the_blank_fails_and_the_solution_passes(name: str, tmp_path: Path) -> None:
    task = without_model(task_of(name))
    report = check(task, task.blank, tmp_path)
    assert report.stage == "runs"
    assert "not written yet" in report.lines[0]
    touched = check(task, task.blank + "\n# touched\n", tmp_path)
    assert not touched.is_passed
    solved = check(task, task.solution, tmp_path)
    assert solved.is_passed, solved
    assert solved.passed


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mutant"), MUTANTS, ids=IDS)
def test_a_mutant_is_rejected_where_it_is_declared(
    name: str, mutant: Mutant, tmp_path: Path
) -> None:
    task = without_model(task_of(name))
    assert mutant.stage in STAGES
    report = check(task, mutant.apply(task.solution), tmp_path)
    assert report.stage == mutant.stage, report
    if mutant.stage != "unchanged":
        assert report.mistake is not None, report
        assert report.mistake[0] in (mutant.name, mutant.same_as)


def outputs(task: Task, source: str) -> list[Any]:
    """What the learner's code gives for each case."""
    student: ModuleType = load(task, source, "<mutant>")
    results = []
    for case in task.check(student):
        try:
            with np.errstate(all="ignore"):
                result = case.function(*case.arguments, **case.options)
        except Exception as error:
            result = repr(error)
        results.append((result, case.arguments))
    return results


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_mutants_are_distinct_unless_declared(name: str) -> None:
    task = task_of(name)
    mutants = [m for m in task.exercise.mutants if m.stage not in ("ends", "model")]
    results = {m.name: outputs(task, m.apply(task.solution)) for m in mutants}
    for one, other in itertools.combinations(mutants, 2):
        same = difference(results[one.name], results[other.name], 1e-9) is None
        declared = one.same_as == other.name or other.same_as == one.name
        assert same == declared, (one.name, other.name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in QUICK])
def test_the_solution_and_the_mutants_inside_a_model(name: str, tmp_path: Path) -> None:
    task = task_of(name)
    solved = check(task, task.solution, tmp_path)
    assert solved.is_passed, solved
    assert solved.passed["model"] == 1
    for mutant in task.exercise.mutants:
        if mutant.stage == "model":
            report = check(task, mutant.apply(task.solution), tmp_path)
            assert report.stage == "model", (mutant.name, report)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in QUICK])
def test_the_model_runs_the_code_of_the_learner(name: str) -> None:
    task = task_of(name)
    called = set()

    def watched(patch: Patch) -> Patch:
        def replacement(*args: Any, **kwargs: Any) -> Any:
            called.add(patch.target)
            return patch.replacement(*args, **kwargs)

        return replace(patch, replacement=replacement)

    def plug(student: ModuleType) -> tuple[Patch, ...]:
        return tuple(map(watched, plugs(student)))

    plugs: Callable[[ModuleType], tuple[Patch, ...]] | None = task.plug
    assert plugs is not None
    student = load(task, task.solution, "<solution>")
    answers_with(replace(task, plug=plug), student)
    assert called == {patch.target for patch in plugs(student)}


def test_what_a_report_says_of_another_error_and_of_another_length(tmp_path: Path) -> None:
    task = without_model(task_of("words/windows"))
    raised = check(task, task.solution.replace("raise ValueError", "raise TypeError"), tmp_path)
    assert raised.stage == "edges"
    assert raised.lines[0] == "expected ValueError, got another error:"
    assert raised.lines[1].startswith("TypeError: there is room for 2 tokens")
    short = check(task, task.solution.replace("return rows", "return rows[:1]"), tmp_path)
    assert [line[:20] for line in short.lines] == ["expected 2 members: ", "got 1 member: [[101,"]
