"""Grade one file of a learner: load exactly this file, run the cases, name a known mistake.

`child.py` runs this in a process of its own.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.files import FileError, read_regular
from tinybert.learn.differences import difference, shown
from tinybert.learn.exercise import Case, Mutant, Task
from tinybert.learn.plugged import model_cases

_MATCH = 1e-9  # how near a wrong output has to be to a mutant's
_LARGEST_FILE = 1_000_000  # bytes


@dataclass
class Report:
    """What a check found.

    Attributes:
        passed: the stages that were passed, each with its number of cases.
        stage: the stage that failed, None if the file passed; "runs" if it could not be loaded.
        call: the call that failed, with the shapes of its arguments.
        lines: what is wrong, with the expected and the actual value.
        mistake: name and explanation of the mutant with the same output.
        where: the learner's own line, if an exception came from it, as "line 12: return y / 0".
        printed: the beginning of what the learner's code printed.
    """

    passed: dict[str, int] = field(default_factory=dict)
    stage: str | None = None
    call: str = ""
    lines: list[str] = field(default_factory=list)
    mistake: tuple[str, str] | None = None
    where: str = ""
    printed: str = ""

    @property
    def is_passed(self) -> bool:
        """Whether nothing failed."""
        return self.stage is None


class NotAccepted(Exception):
    """A file that cannot be graded; the message says why."""


def grade(
    task: Task, path: Path, before: Callable[[Report, Case], None] = lambda report, case: None
) -> Report:
    """Check a learner's file against all cases, up to the first that fails.

    `before` is called before each case with what was found until then.
    """
    report = Report()
    try:
        source = read_source(path)
        student = load(task, source, str(path))
    except NotAccepted as error:
        report.stage, report.lines = "runs", str(error).split("\n")
        return report
    except (Exception, SystemExit) as error:
        report.stage, report.lines = "runs", [_message(error)]
        report.where = _where(error, str(path))
        return report
    cases = chain(task.check(student), model_cases(task, student))
    try:
        for number, case in enumerate(cases):
            before(report, case)
            failed = _run(case)
            if failed is None:
                report.passed[case.stage] = report.passed.get(case.stage, 0) + 1
                continue
            report.stage, report.lines = failed.stage, failed.lines
            report.call = describe(case)
            if failed.error is not None:
                report.where = _where(failed.error, str(path))
            if failed.stage != "unchanged":
                report.mistake = _known_mistake(task, number, case, failed.got)
            break
    except (Exception, SystemExit) as error:  # of learner's code that prepares a case
        report.where = _where(error, str(path))
        if not report.where:
            raise
        report.stage, report.lines = "runs", [_message(error)]
    return report


def read_source(path: Path) -> str:
    """Return the text of a learner's file."""
    try:
        data = read_regular(path, _LARGEST_FILE)
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise NotAccepted(f"{path} is not UTF-8 text (at byte {error.start})") from None
    except OSError as error:
        raise NotAccepted(f"{path} cannot be read: {error.strerror}") from None
    except FileError as error:
        raise NotAccepted(str(error)) from None


def load(task: Task, source: str, path: str) -> ModuleType:
    """Run the text of a learner's file as a module.

    Raises:
        NotAccepted: the file has a syntax error, is still the blank, uses a forbidden name, or does
            not define what is asked for itself.
    """
    if source == task.blank:
        line = source[: source.index("TODO")].count("\n") + 1
        raise NotAccepted(f"not written yet: the TODO is in line {line}")
    try:
        tree = ast.parse(source, path)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise NotAccepted(_syntax(error)) from None
    for name, line in _names(tree, task.defined):
        if name in task.exercise.forbidden:
            raise NotAccepted(f"line {line} uses {name}: {task.exercise.forbidden[name]}")
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    module = ModuleType("student")
    module.__file__ = path
    exec(compile(tree, path, "exec"), module.__dict__)
    for name in task.defined:
        value = getattr(module, name, None)
        if value is None:
            raise NotAccepted(f"{name} is not defined: keep the name that the file had")
        code = getattr(value, "__code__", None)
        if code is None and not isinstance(value, type):
            raise NotAccepted(f"{name} is not a function or class of this file")
        if value.__module__ != "student" or (code is not None and code.co_filename != path):
            raise NotAccepted(f"{name} comes from elsewhere: write it in this file")
    return module


def _names(tree: ast.AST, defined: list[str]) -> Iterator[tuple[str, int]]:
    """All names that a file uses or imports, with their lines, but not calls of its own code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in defined:
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                yield alias.name.rpartition(".")[2], node.lineno


def _syntax(error: Exception) -> str:
    if not isinstance(error, SyntaxError) or error.text is None:
        return f"the file is not Python: {error}"
    text = error.text.rstrip("\n")
    caret = " " * max((error.offset or 1) - 1, 0) + "^"
    return f"line {error.lineno}: {error.msg}\n{text}\n{caret}"


@dataclass
class _Failed(Exception):
    """A case that failed: the stage, what to say, and the result or the exception."""

    stage: str
    lines: list[str]
    got: Any = None
    error: BaseException | None = None


def _run(case: Case) -> _Failed | None:
    """Run one case; None if the result is right and the arguments are as they were."""
    before = _copied((case.arguments, case.options))
    is_refusal = isinstance(case.expected, type) and issubclass(case.expected, Exception)
    try:
        with np.errstate(all="ignore"):
            got = case.function(*case.arguments, **case.options)
    except (Exception, SystemExit) as error:
        if is_refusal and isinstance(error, case.expected):
            return None
        wanted = [f"expected {case.expected.__name__}, got another error:"] if is_refusal else []
        return _Failed(case.stage, [*wanted, _message(error)], error, error)
    if is_refusal:
        lines = [f"expected {case.expected.__name__}, got {shown(got)}"]
        return _Failed(case.stage, lines, got)
    found = difference(got, case.expected, case.tolerance, case.names)
    if found is not None:
        stage = case.stage if found.stage == "values" else found.stage
        return _Failed(stage, found.lines, got)
    changed = _changed((case.arguments, case.options), before)
    if changed is not None:
        name = _argument_names(case)[changed]
        lines = [f"{name} was changed by the call: the caller still needs it as it was"]
        return _Failed("unchanged", lines, got)
    return None


def _copied(value: Any) -> Any:
    """Copy arrays and containers; models, functions and the like are not watched."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return {key: _copied(v) for key, v in value.items()} if type(value) is dict else value


def _message(error: BaseException) -> str:
    if isinstance(error, NotImplementedError) and not str(error):
        return "NotImplementedError: this part is not written yet"
    if isinstance(error, MemoryError):
        return f"MemoryError: your code takes more memory than a check may have {error}".rstrip()
    if isinstance(error, SystemExit):
        return "your code calls exit(), which ends the program: return the result instead"
    return f"{type(error).__name__}: {shown(str(error), 300)[1:-1]}"


def _where(error: BaseException, path: str) -> str:
    """The last line of the learner's file that an exception passed, with its text."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    return f"line {frames[-1].lineno}: {frames[-1].line}" if frames else ""


def _changed(after: Any, before: Any) -> int | None:
    """The number of the first argument that is not as it was."""
    arguments = zip([*after[0], *after[1].values()], [*before[0], *before[1].values()], strict=True)
    for number, (mine, right) in enumerate(arguments):
        if not _is_same(mine, right):
            return number
    return None


def _is_same(mine: Any, right: Any) -> bool:
    if isinstance(right, np.ndarray):
        return isinstance(mine, np.ndarray) and difference(mine, right, 0) is None
    if isinstance(right, dict):
        return list(mine) == list(right) and all(_is_same(mine[k], right[k]) for k in right)
    if isinstance(right, list | tuple):
        return len(mine) == len(right) and all(map(_is_same, mine, right))
    # Functions, generators and the like have no equality: they count as unchanged.
    return not isinstance(right, int | float | str | bytes) or mine == right


def describe(case: Case) -> str:
    """Return the call as text: `softmax(x: float64 (2, 3, 5), axis=1)`."""
    if case.what:
        return case.what
    values = [*case.arguments, *case.options.values()]
    described = [_argument(n, v) for n, v in zip(_argument_names(case), values, strict=True)]
    name = getattr(case.function, "__qualname__", str(case.function)).rpartition(".<locals>.")[2]
    return f"{name}({', '.join(described)})"


def _argument_names(case: Case) -> list[str]:
    """The parameters that the arguments and options of a case belong to."""
    try:
        parameters = list(inspect.signature(case.function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = []
    for number in range(len(case.arguments)):
        inside = parameters[min(number, len(parameters) - 1)] if parameters else None
        names.append(inside.name if inside is not None else f"argument {number + 1}")
    return [*names, *case.options]


def _argument(name: str, value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{name}: {value.dtype} {value.shape}"
    if type(value) is dict and value:
        inner = ", ".join(_argument(str(key), member) for key, member in value.items())
        return f"{name}: {{{inner}}}"
    if type(value) in (list, tuple) and any(isinstance(member, np.ndarray) for member in value):
        inner = ", ".join(_argument("", member).strip(": =") for member in value)
        return f"{name}: [{inner}]"
    if isinstance(value, np.random.Generator):
        return name
    if callable(value):
        return getattr(value, "__qualname__", name)
    return f"{name}={shown(value, 60)}"


def _known_mistake(task: Task, number: int, case: Case, got: Any) -> tuple[str, str] | None:
    """Name the mutant whose result for the same case is that of the learner."""
    for mutant in task.exercise.mutants:
        # A mutant that never ends cannot be asked, and one run of a whole model is slow.
        if mutant.stage == "ends" or (case.stage == "model" and mutant.stage != "model"):
            continue
        if _equals(task, mutant, number, got):
            return mutant.name, mutant.explanation
    return None


def _equals(task: Task, mutant: Mutant, number: int, got: Any) -> bool:
    try:
        student = load(task, mutant.apply(task.solution), f"<{mutant.name}>")
        cases = chain(task.check(student), model_cases(task, student))
        case = next(islice(cases, number, None))
        with np.errstate(all="ignore"):
            result = case.function(*case.arguments, **case.options)
    except Exception as error:
        result = error
    if isinstance(result, Exception) or isinstance(got, Exception):
        return type(result) is type(got) and str(result) == str(got)
    return difference(got, result, _MATCH) is None
