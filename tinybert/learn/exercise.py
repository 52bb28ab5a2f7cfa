"""`Exercise`: what is asked, its hints and its known mistakes; and the text of its file.

An exercise NAME, as "loss/softmax", has two files. `exercises/NAME.py` is the file of the learner
with its solution: the blank replaces the lines between the two marks. `checks/NAME.py` defines
`EXERCISE`, `check(student)`, which yields the cases that decide, and for some `plug(student)`, the
patches that put the learner's code into the engine.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from tinybert.checks import check
from tinybert.learn.patches import Patch

ROOT = Path(__file__).parent / "exercises"
STAGES = ("runs", "shape", "dtype", "values", "gradient", "edges", "unchanged", "ends", "model")
_SOLUTION = re.compile(r"^( *)# --- solution\n(.*?)^ *# --- end\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Mutant:
    """A known mistake: the solution with one part of its text changed.

    Attributes:
        name: in a few words, what is wrong.
        right: text that the solution's file has once.
        wrong: the text that replaces it.
        stage: the stage at which the check has to reject it, one of `STAGES`.
        explanation: a sentence for a learner whose output is the same.
        same_as: another mutant of the exercise with the same output, if there is one.
    """

    name: str
    right: str
    wrong: str
    stage: str
    explanation: str
    same_as: str | None = None

    def apply(self, source: str) -> str:
        """Return the solution with the mistake."""
        count = source.count(self.right)
        check(f"right of mutant {self.name!r}", self.right, count == 1, "in the solution once")
        return source.replace(self.right, self.wrong)


@dataclass(frozen=True)
class Exercise:
    """One exercise, without its check.

    Attributes:
        minutes: for a learner who knows the lesson.
        level: 1 (a line) to 5 (a day's puzzle).
        lesson: number of the tutorial to read before.
        hints: at most three; each says more than the one before, and none is the solution.
        mutants: at least five known mistakes.
        forbidden: names that the file may not use, and what to say of them.
    """

    minutes: int
    level: int
    lesson: int
    hints: tuple[str, ...]
    mutants: tuple[Mutant, ...]
    forbidden: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One call of the learner's code, and what it has to give.

    Attributes:
        function: what is called with `arguments` and `options`.
        expected: the right result: numbers, arrays, strings, None, and tuples, lists and dicts of
            these. An exception class means that the call has to raise it.
        stage: the stage that a wrong value belongs to: "values", "gradient", "edges" or "model". A
            wrong shape or dtype, and a changed argument, have stages of their own.
        names: of the members of a tuple of results, as ("dx", "dweight").
        tolerance: the largest difference, relative to the largest expected number or 1.
        what: one line about the case in the report, where the call does not say it.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    expected: Any
    options: dict[str, Any] = field(default_factory=dict)
    stage: str = "values"
    names: tuple[str, ...] = ()
    tolerance: float = 1e-9
    what: str = ""


@dataclass(frozen=True)
class Task:
    """An exercise with its name, files and check.

    Attributes:
        name: chapter and file, as "loss/softmax".
        exercise, check, plug: see the module; `plug` is None where nothing is put into the engine.
    """

    name: str
    exercise: Exercise
    check: Callable[[ModuleType], Iterator[Case]]
    plug: Callable[[ModuleType], tuple[Patch, ...]] | None

    @property
    def source(self) -> str:
        """The file with its solution and the two marks."""
        return (ROOT / f"{self.name}.py").read_text(encoding="utf-8")

    @property
    def solution(self) -> str:
        """The file of a learner who has solved it."""
        return _SOLUTION.sub(r"\2", self.source)

    @property
    def blank(self) -> str:
        """The file that the learner starts with."""
        return _SOLUTION.sub(r"\1raise NotImplementedError\n", self.source)

    @property
    def answer(self) -> str:
        """The solution alone: the lines between the marks."""
        return "".join(text for _, text in _SOLUTION.findall(self.source))

    @property
    def text(self) -> str:
        """What is asked: the docstring of the file."""
        return ast.get_docstring(ast.parse(self.source)) or ""

    @property
    def title(self) -> str:
        """The first line of the docstring."""
        return self.text.partition("\n")[0].rstrip(".")

    @property
    def defined(self) -> list[str]:
        """The functions and classes that the learner's file has to define."""
        kinds = (ast.FunctionDef, ast.ClassDef)
        return [node.name for node in ast.parse(self.source).body if isinstance(node, kinds)]


def load_task(name: str) -> Task:
    """Import the check of an exercise."""
    module = importlib.import_module(f"tinybert.learn.checks.{name.replace('/', '.')}")
    return Task(name, module.EXERCISE, module.check, getattr(module, "plug", None))
