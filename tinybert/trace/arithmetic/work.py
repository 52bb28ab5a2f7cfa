"""`Work`: what a worker sees of a step, and the lines that it writes.

A worker is a function for one operation and one result of it. It returns the term of one element;
intermediate results it names with `work.let`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinybert.trace.arithmetic.terms import Term, number, show
from tinybert.trace.steps import BACKWARD, FORWARD, UPDATE, Step
from tinybert.trace.values import Value

Index = tuple[int, ...]
Worker = Callable[["Work"], Term]
WORKERS: dict[tuple[str, str, str], Worker] = {}  # by phase, operation, name of the result

ANY = "any"  # in place of a name: all gradients of an operation


class Unknown(Exception):
    """An element cannot be worked out; the message says what is not in the record."""


class Numbers:
    """A recorded array whose elements are read in float64."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.ndim = array, array.shape, array.ndim

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self.array[index], np.float64)

    def spread(self, shape: Index) -> Numbers:
        """Return the array broadcast to a shape."""
        return Numbers(np.broadcast_to(self.array, shape))

    def at(self, index: Index) -> Any:
        """Return the element that meets element `index` of a result it is broadcast to."""
        own = index[len(index) - self.ndim :]
        return self[tuple(0 if n == 1 else i for i, n in zip(own, self.shape, strict=True))]


@dataclass
class Work:
    """One element of a result.

    Attributes:
        step, forward: the step, and that of its forward (itself, if it is one).
        result: the array that the element is in. position: its place among the results.
        index: of the element.
        lines: the intermediate results so far.
    """

    step: Step
    forward: Step
    result: Value
    index: Index
    options: dict[str, Any]
    lines: list[str] = field(default_factory=list)

    @property
    def position(self) -> int:
        """The place of the result among those of the step."""
        return self.step.outputs.index(self.result)

    def has(self, name: str) -> bool:
        """Whether the forward had an input of this name."""
        return any(value.name == name for value in self.forward.inputs)

    def x(self, name: str = "x") -> Numbers:
        """Return an input of the forward."""
        return self._numbers(self.forward.inputs, name)

    def y(self, name: str = "y") -> Numbers:
        """Return an output of the forward."""
        return self._numbers(self.forward.outputs, name)

    def dy(self, name: str = "dy") -> Numbers:
        """Return the gradient of an output."""
        return self._numbers(self.step.inputs, name)

    def saved(self, name: str) -> Numbers:
        """Return an array that the forward kept for the backward."""
        return self._numbers(self.forward.saved, name)

    def option(self, name: str) -> Any:
        """Return an option of the operation."""
        if name not in self.options:
            raise Unknown(f"the option {name!r} is not in the record")
        return self.options[name]

    def _numbers(self, values: list[Value], name: str) -> Numbers:
        for value in values:
            if value.name == name:
                if value.array is None:
                    raise Unknown(f"of {name} only a thumbnail is kept; record with a larger limit")
                return Numbers(value.array)
        raise Unknown(f"{name} is not in the record")

    def let(self, name: str, term: Any) -> Term:
        """Add the line "name = arithmetic = number", and return the number."""
        term = number(term)
        self.lines.append(statement(name, term))
        return number(float(term.value))


def statement(name: str, term: Term) -> str:
    """Return "name = arithmetic = number"."""
    result = show(term.value)
    return f"{name} = {result}" if term.text == result else f"{name} = {term.text} = {result}"


def element(name: str, index: Any) -> str:
    """Return the name of an element: "dx[0,3,5]"; that of the array if it has no axes."""
    return f"{name}[{','.join(map(str, index))}]" if len(index) else name


def copy(name: str, array: Numbers, index: Any) -> Term:
    """Return an element that is copied unchanged: its text is its name."""
    return Term(array[tuple(index)], element(name, index))


# --- registration ---------------------------------------------------------------------------------


def forward(*operations: str) -> Callable[[Worker], Worker]:
    """Register the worker of the results of some operations."""
    return _register(FORWARD, operations, "")


def backward(operation: str, gradient: str) -> Callable[[Worker], Worker]:
    """Register the worker of a gradient of an operation."""
    return _register(BACKWARD, (operation,), gradient)


def update(*optimizers: str) -> Callable[[Worker], Worker]:
    """Register the worker of the new parameter of some optimizers."""
    return _register(UPDATE, optimizers, "")


def _register(phase: str, operations: Any, result: str) -> Callable[[Worker], Worker]:
    def decorate(worker: Worker) -> Worker:
        for operation in operations:
            WORKERS[phase, operation, result] = worker
        return worker

    return decorate


def worker_of(step: Step, result: str) -> Worker | None:
    """Return the worker of a result of a step, None if there is none."""
    name = result if step.phase == BACKWARD else ""
    found = WORKERS.get((step.phase, step.operation, name))
    return found or WORKERS.get((step.phase, step.operation, ANY))
