"""The first operation of a record that made a NaN or an infinity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinybert.trace.steps import Step
from tinybert.trace.values import Value


@dataclass(frozen=True)
class Cause:
    """Where the first NaN or infinity came from.

    Attributes:
        step: the operation. Its inputs are finite; or one of them was not when the record began.
        value: the array with it.
        index: of the first such element; None if only statistics are kept.
        given: whether it was given to the operation, by a parameter or an argument.
    """

    step: Step
    value: Value
    index: tuple[int, ...] | None
    given: bool

    def __str__(self) -> str:
        step, value = self.step, self.value
        number = "an element"
        if self.index is not None and value.array is not None:
            number = f"{value.name}{list(self.index)} = {value.array[self.index]}"
        lines = [
            f"step {step.number}, {step.phase} {step.path}"
            f"{f', called at {step.place}' if step.place else ''}: {number}"
            + (", given to it" if self.given else "")
        ]
        lines += [
            f"  {v.name} {v.shape}: {v.statistics.min:.6g} to {v.statistics.max:.6g}, "
            f"NaN {v.statistics.nan}, infinite {v.statistics.inf}"
            for v in step.inputs
        ]
        return "\n".join(lines)


def why_nan(steps: list[Step]) -> Cause | None:
    """Return the first step with a NaN or an infinity in what it got or made.

    A mask of -inf is an input like others: where it is meant, look at the next step.
    """
    for step in steps:
        for given, values in ((True, step.inputs), (False, step.outputs)):
            for value in values:
                found = value.statistics
                if found.nan or found.inf:
                    return Cause(step, value, _first(value), given)
    return None


def _first(value: Value) -> tuple[int, ...] | None:
    if value.array is None:
        return None
    index = np.argmin(np.isfinite(value.array))
    return tuple(int(i) for i in np.unravel_index(index, value.shape))
