"""The wrong code of a bug beside the right one, as lines."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from tinybert.learn.museum.bugs import Bug
from tinybert.learn.patches import attribute


class Line(NamedTuple):
    """A line of code, and its side: "right", "wrong", or "" where both agree."""

    side: str
    text: str


def excerpt(bug: Bug) -> list[Line]:
    """Return the lines that differ between the engine and the bug, one line around them.

    A bug with `right` has that line, then all lines of the wrong function.
    """
    patch = bug.patches[0]
    wrong = code(bug.wrong or patch.replacement, patch.target)
    if bug.right:
        return [Line("right", bug.right), *(Line("wrong", line) for line in wrong)]
    return list(_compared(code(attribute(patch.target), patch.target), wrong))


def code(value: Any, target: str) -> list[str]:
    """Return the body of a function without its docstring; of another value an assignment."""
    function = inspect.unwrap(value) if callable(value) else value
    if not inspect.isfunction(function):
        return [f"{target.rpartition('.')[2]} = {value!r}"]
    source = textwrap.dedent(inspect.getsource(function))
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.FunctionDef)
    body = definition.body[ast.get_docstring(definition) is not None :]
    lines = source.splitlines()[body[0].lineno - 1 : definition.end_lineno]
    return textwrap.dedent("\n".join(lines)).splitlines()


def _compared(right: list[str], wrong: list[str]) -> Iterator[Line]:
    groups = list(SequenceMatcher(None, right, wrong, False).get_grouped_opcodes(1))
    for number, group in enumerate(groups):
        if number:
            yield Line("", "...")
        for kind, a, b, c, d in group:
            if kind == "equal":
                yield from (Line("", line) for line in right[a:b])
            else:
                yield from (Line("right", line) for line in right[a:b])
                yield from (Line("wrong", line) for line in wrong[c:d])
