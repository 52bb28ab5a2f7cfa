"""One record of a model for inputs of any size, made of the records of several runs.

The runs differ in the sizes of their inputs alone, so they call the same functions. An integer that
differs between them depends on these sizes and becomes a `Size`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinybert.export.sizes import Size, fitted
from tinybert.export.traced import Source, Step, Traced


class Array(NamedTuple):
    """An array of the record.

    Attributes:
        step, result: the place in the record of the step that computes it, and of the result.
        shape: integers and sizes. dtype: of its elements.
    """

    step: int
    result: int
    shape: tuple[Any, ...]
    dtype: np.dtype


class Recorded(NamedTuple):
    """A step of the record.

    Attributes:
        name, scope: as of `Step`.
        args, options: with an `Array` for each array, and a `Size` where an integer depends on the
            inputs.
        results: the arrays that it computes.
        value: the first result, where it is the same for all inputs; else None. A parameter has
            its value too.
    """

    name: str
    scope: str
    args: Any
    options: Any
    results: tuple[Array, ...]
    value: np.ndarray | None


def record(
    outputs: Sequence[Mapping[str, Traced]], sizes: Sequence[Mapping[str, int]]
) -> tuple[list[Recorded], dict[str, Array]]:
    """Return the steps that the outputs need, in order, and the outputs.

    Args:
        outputs: the outputs of each run.
        sizes: of the inputs of each run, from `sizes.runs`.

    Raises ValueError for a model that depends on the sizes of its inputs in another way.
    """
    runs = [_needed(run.values()) for run in outputs]
    places = [{id(step): i for i, step in enumerate(steps)} for steps in runs]
    merge = _Merge(places, sizes)
    if len({tuple(step.name for step in steps) for steps in runs}) > 1:
        raise ValueError(
            "cannot export a model that computes other steps for other sizes of its inputs; "
            "the first that differs: "
            + next((f"{a.scope} ({a.name})" for a, b in zip(*runs[:2], strict=False)
                    if a.name != b.name), "the last")
        )  # fmt: skip
    steps: list[Recorded] = []
    for same in zip(*runs, strict=True):
        steps.append(merge.step(same, steps))
    return steps, {name: merge.array([run[name].source for run in outputs]) for name in outputs[0]}


def _needed(outputs: Any) -> list[Step]:
    """Return the steps that compute some arrays, in the order in which they were called."""
    found: dict[int, Step] = {}
    pending = [output.source.step for output in outputs]
    while pending:
        step = pending.pop()
        if id(step) not in found:
            found[id(step)] = step
            pending += [source.step for source in _sources((step.args, step.options))]
    return sorted(found.values(), key=lambda step: step.number)


def _sources(value: Any) -> list[Source]:
    if isinstance(value, Source):
        return [value]
    if isinstance(value, slice):
        value = value.start, value.stop, value.step
    if isinstance(value, dict):
        value = tuple(value.values())
    return [s for part in value for s in _sources(part)] if isinstance(value, tuple) else []


class _Merge:
    """Compares what several runs did, and puts it together."""

    def __init__(self, places: list[dict[int, int]], sizes: Sequence[Mapping[str, int]]) -> None:
        self.places, self.sizes = places, sizes
        self.where = ""

    def step(self, same: tuple[Step, ...], before: list[Recorded]) -> Recorded:
        """Return one step for the step that each run did."""
        first = same[0]
        self.where = f"{first.scope or 'the model'}, {first.name}"
        args = self.value([step.args for step in same])
        options = self.value([step.options for step in same])
        results = tuple(
            self.array([Source(step, index) for step in same])
            for index in range(len(first.results))
        )
        return Recorded(
            first.name, first.scope, args, options, results,
            _constant(same, (args, options, [r.shape for r in results]), before),
        )  # fmt: skip

    def array(self, same: list[Source]) -> Array:
        """Return the `Array` for the array of each run."""
        first = same[0]
        numbers = {
            (run[id(source.step)], source.index)
            for run, source in zip(self.places, same, strict=True)
        }
        if len(numbers) > 1:
            raise ValueError(f"cannot export {self.where}: other inputs for other sizes")
        ((step, index),) = numbers
        shape = self.value([source.array.shape for source in same])
        return Array(step, index, shape, first.array.dtype)

    def value(self, same: list[Any]) -> Any:
        """Return an argument with arrays and sizes in the place of those of each run."""
        first = same[0]
        if isinstance(first, Source):
            return self.array(same)
        if isinstance(first, slice):
            bounds = [(part.start, part.stop, part.step) for part in same]
            return slice(*self.value(bounds))
        if isinstance(first, tuple):
            return tuple(map(self.value, map(list, zip(*same, strict=True))))
        if isinstance(first, dict):
            return {name: self.value([part[name] for part in same]) for name in first}
        if isinstance(first, (int, np.integer)) and not isinstance(first, bool):
            found = fitted([int(number) for number in same], self.sizes)
            if found is not None:
                return found
        elif isinstance(first, np.ndarray):
            if all(np.array_equal(first, other) for other in same):
                return first
        elif all(other == first for other in same):
            return first
        raise ValueError(
            f"cannot export {self.where}: an argument depends on the sizes of the inputs in a way "
            f"that is not a product of them: {', '.join(map(str, same))[:200]}"
        )


def _constant(same: tuple[Step, ...], parts: Any, before: list[Recorded]) -> np.ndarray | None:
    """Return the first result of a step that depends on no input, size or parameter, which are
    the same for all runs. Raises ValueError for a given array that is not.
    """
    first = same[0]
    if first.name == "parameter":
        return first.results[0]
    if first.name == "input":
        return None
    for part in _leaves(parts):
        if isinstance(part, Size) or (
            isinstance(part, Array)
            and (before[part.step].value is None or before[part.step].name == "parameter")
        ):
            return None
    value = first.results[0]
    if all(np.array_equal(value, step.results[0], equal_nan=True) for step in same):
        return value
    raise ValueError(f"cannot export {first.scope}: its {first.name} depends on the inputs")


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, slice):
        value = value.start, value.stop, value.step
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)) and not isinstance(value, Array):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]
