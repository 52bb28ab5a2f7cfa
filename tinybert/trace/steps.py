"""`Step`: one operation of a record, forwards, backwards, or the update of a parameter."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinybert.trace.values import Value

FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"
SHARED = 5  # values of one step whose reach differs by less share their colours


@dataclass(eq=False)
class Step:
    """What one operation did.

    Attributes:
        number: its place in the record, from 0.
        phase: "forward", "backward" or "update".
        operation: the name of its class: "Softmax", "AdamW".
        module: the dotted name of the module that ran it; call: how often that module had been
            called before.
        inputs, outputs: forwards, the arrays it got and made; backwards, the gradients of its
            outputs ("dy") and of its inputs ("dx"; one that was not asked for is not listed);
            for an update, the parameter and its gradient, and the new parameter.
        saved: what its forward kept for its backward; the same in both steps.
        arguments: the number of positional arguments, also those that were None.
        options: the others, by name, as text.
        partner: the number of the step of the other direction, or None.
        forward: backwards, the step of its forward, if it was recorded.
        file, line: the code that called it, outside the engine itself.
        seconds: how long it took.
        rerun: forwards, its class and the options themselves, for `replay`; None in a record that
            was read from a file.
    """

    number: int
    phase: str
    operation: str
    module: str = ""
    call: int = 0
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    saved: list[Value] = field(default_factory=list)
    arguments: int = 0
    options: dict[str, str] = field(default_factory=dict)
    partner: int | None = None
    forward: Step | None = field(default=None, repr=False, compare=False)
    file: str = ""
    line: int = 0
    seconds: float = 0.0
    rerun: tuple[Any, dict[str, Any]] | None = field(default=None, repr=False, compare=False)

    @property
    def path(self) -> str:
        """The module and the operation: "encoder.layer.0.output.dense.Linear"."""
        return f"{self.module}.{self.operation}" if self.module else self.operation

    @property
    def code(self) -> str:
        """The line of code that called the operation, "" if its file cannot be read."""
        return linecache.getline(self.file, self.line).strip()

    @property
    def place(self) -> str:
        """Where that line is: "bert.py:120"."""
        return f"{Path(self.file).name}:{self.line}" if self.file else ""

    @property
    def reach(self) -> float:
        """Where the colours of its pictures end: where those of its results do, or of an input that
        reaches further, but not `SHARED` times as far.
        """
        own = max((value.reach for value in self.outputs), default=0.0)
        others = [v.reach for v in self.inputs if v.parameter is None]
        return max([own, *(reach for reach in others if reach < SHARED * own)])

    def values(self) -> list[Value]:
        """All arrays of the step: inputs, outputs, saved."""
        return [*self.inputs, *self.outputs, *self.saved]

    def value(self, name: str) -> Value:
        """Return the array with a name; KeyError, with the names, if there is none."""
        for value in self.values():
            if value.name == name:
                return value
        names = ", ".join(value.name for value in self.values())
        raise KeyError(f"step {self.number} ({self.path}) has no {name!r}; it has {names}")

    def __repr__(self) -> str:
        def shapes(values: list[Value]) -> str:
            return ", ".join(f"{v.name} {'x'.join(map(str, v.shape)) or 'scalar'}" for v in values)

        flow = f"{shapes(self.inputs)} -> {shapes(self.outputs)}"
        return f"{self.number} {self.phase} {self.path}: {flow}"


def distinct_values(steps: list[Step]) -> Iterator[Value]:
    """Return all arrays of some steps, each once."""
    seen: set[int] = set()
    for step in steps:
        for value in step.values():
            if id(value) not in seen:
                seen.add(id(value))
                yield value
