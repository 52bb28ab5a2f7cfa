"""`worked`: the arithmetic of one element of a step's result, with the numbers put in.

>>> print(worked(trace[41], (0, 3, 5)))
sum = 0.031 * 0.4 + (-0.2) * 0.082 = -0.004
dx[0,3,5] = 0.12 * (0.031 - (-0.004)) = 0.0042
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinybert.autograd import Function
from tinybert.trace.arithmetic import (
    attention,
    broadcasting,
    copies,
    elementwise,
    losses,
    norms,
    products,
    reductions,
    sequences,
    softmax,
    updates,
)  # fmt: skip
from tinybert.trace.arithmetic.terms import show
from tinybert.trace.arithmetic.work import (
    WORKERS,
    Index,
    Unknown,
    Work,
    element,
    statement,
    worker_of,
)  # fmt: skip
from tinybert.trace.formulas import formulas
from tinybert.trace.replay import operations, option_of
from tinybert.trace.steps import BACKWARD, FORWARD, UPDATE, Step
from tinybert.trace.values import Value

# Importing them registers their workers.
FILES = (
    attention, broadcasting, copies, elementwise, losses, norms, products, reductions, sequences,
    softmax, updates,
)  # fmt: skip


@dataclass(frozen=True)
class Worked:
    """The arithmetic of one element.

    Attributes:
        value: the array with the element. index: its place, () if there is none to show.
        lines: "name = arithmetic = number", the element itself last; or one line that says what is
            missing in the record.
        result: the element as the arithmetic gives it, in float64; None if something is missing.
        recorded: the element as the step made it; None likewise.
    """

    value: Value
    index: Index
    lines: tuple[str, ...]
    result: float | None = None
    recorded: float | None = None

    def text(self, width: int = 100) -> str:
        """Return the lines, none longer than `width`; what follows a break is indented."""
        parts = [
            textwrap.wrap(line, width, subsequent_indent="    ", break_on_hyphens=False)
            for line in self.lines
        ]
        return "\n".join(line for part in parts for line in part)

    def __str__(self) -> str:
        return self.text()


def worked(
    step: Step, index: Sequence[int] | None = None, value: str | None = None
) -> Worked | None:
    """Return the arithmetic of one element of a step; None if its operation has no worker.

    Args:
        step: a step of a record.
        index: of the element; by default the one of largest magnitude, or the first NaN; of an
            update the one that changed most.
        value: the name of a result of the step, such as "dweight"; by default the first.

    All numbers are computed in float64 from the arrays in the record. Raises KeyError for a name
    that is not one of a result, and IndexError for an index outside of its shape.
    """
    result = _result(step, value)
    worker = None if result is None else worker_of(step, result.name)
    if result is not None and any(v.dtype.startswith("complex") for v in step.values()):
        return Worked(result, (), ("complex numbers are not worked out",))
    if result is None or worker is None or not _is_ours(step):
        return None
    chosen = None if index is None else _checked(result, tuple(index))
    try:
        if result.array is None:
            raise Unknown(f"of {result.name} only a thumbnail is kept; record with a larger limit")
        forward = step.forward if step.phase == BACKWARD else step
        if forward is None:
            raise Unknown("the forward of this step is not in the record")
        if chosen is None:
            chosen = _largest(step, result)
        work = Work(step, forward, result, chosen, _options(forward))
        with np.errstate(all="ignore"):
            term = worker(work)
    except Unknown as why:
        return Worked(result, chosen or (), (str(why),))
    recorded = float(result.array[chosen])
    last = statement(element(result.name, chosen), term)
    if show(recorded) != show(term.value):
        last += f" (recorded: {show(recorded)})"
    return Worked(result, chosen, (*work.lines, last), float(term.value), recorded)


def operations_without() -> list[str]:
    """Return the names of the operations that have no worker, forwards or backwards.

    Of an operation without a gradient only the forward counts.
    """
    known = [{name for phase, name, _ in WORKERS if phase == p} for p in (FORWARD, BACKWARD)]
    return sorted(
        kind.__name__
        for kind in operations(Function)
        if kind.__name__ not in known[0]
        or (kind.__name__ not in known[1] and "no gradient" not in formulas(kind).backward)
    )


def _result(step: Step, name: str | None) -> Value | None:
    if name is None:
        return step.outputs[0] if step.outputs else None
    for value in step.outputs:
        if value.name == name:
            return value
    names = ", ".join(value.name for value in step.outputs)
    raise KeyError(f"step {step.number} ({step.path}) has no result {name!r}; it has {names}")


def _is_ours(step: Step) -> bool:
    """Return whether an operation is that of the package, not one of the same name."""
    kind = (step.forward or step).rerun
    return kind is None or kind[0].__module__.startswith("tinybert.ops.")


def _options(step: Step) -> dict[str, Any]:
    """Return the options of a step, but for those of a record from a file that text cannot hold."""
    if step.rerun is not None:
        return step.rerun[1]
    options = {}
    for name, text in step.options.items():
        with suppress(ValueError, SyntaxError):
            options[name] = option_of(text)
    return options


def _checked(value: Value, index: Index) -> Index:
    fits = len(index) == len(value.shape) and all(
        -size <= i < size for i, size in zip(index, value.shape, strict=True)
    )
    if not fits:
        raise IndexError(f"index {index} is not in {value.name} of shape {value.shape}")
    return tuple(int(i) % size for i, size in zip(index, value.shape, strict=True))


def _largest(step: Step, value: Value) -> Index:
    array: Any = value.array
    if not array.size:
        raise Unknown(f"{value.name} of shape {value.shape} has no elements")
    if step.phase == UPDATE and step.inputs[0].array is not None:
        array = array - step.inputs[0].array
    place = np.argmax(np.abs(array))
    return tuple(int(i) for i in np.unravel_index(place, value.shape))
