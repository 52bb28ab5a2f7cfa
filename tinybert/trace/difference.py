"""Compare two records step by step: where do they differ, and is it rounding or a bug?

Rounding errors grow from layer to layer, so the size of a difference does not tell. Each step is
therefore judged by itself: it is computed again in float64 from the inputs that were recorded with
it. If both records agree with that up to the rounding of their dtype, the operation is right, and
the difference is noise that it received and passed on.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinybert.trace.formulas import input_names
from tinybert.trace.replay import arrays, masked, run, run_again, wide
from tinybert.trace.steps import FORWARD, UPDATE, Step
from tinybert.trace.values import Value

ROUNDING = 64  # eps of the dtype: what a step may differ from its float64 computation
HUGE = 1e30  # larger numbers are masks; that of float32 and that of float64 are equal
RIGHT = ("equal", "noise")


@dataclass(frozen=True)
class StepDifference:
    """The same step in two records.

    Attributes:
        step, other: the step in each record.
        verdict: "equal" (the same numbers), "noise" (both are right up to rounding); or what is
            different: "bug" (a record differs from float64), "input" (what was given to the step: a
            parameter or an argument), "options", "random" (the mask of dropout), "unclear" (more
            than rounding, and the step cannot be computed again).
        detail: which value, option or input differs, or "".
        gap: max |a - b| of the outputs, relative to the size of the output.
        index: of the element with the largest difference, None if there is none.
        errors: for each record, its distance from the float64 computation in the same measure; None
            if it was not needed.
    """

    step: Step
    other: Step
    verdict: str
    detail: str = ""
    gap: float = 0.0
    index: tuple[int, ...] | None = None
    errors: tuple[float, float] | None = None

    @property
    def ok(self) -> bool:
        """Whether the records agree in this step, but for rounding."""
        return self.verdict in RIGHT

    def __str__(self) -> str:
        step = self.step
        place = f", called at {step.place}" if step.place else ""
        lines = [f"step {step.number}, {step.phase} {step.path}{place}: {self.verdict}"]
        if self.detail:
            lines.append(f"  {self.detail}")
        if self.index is not None:
            where = f" at {list(self.index)}" if self.index else ""
            lines.append(f"  largest difference{where}: {self.gap:.1e} of its size")
        if self.errors is not None:
            lines += [
                f"  {name} differs from float64 by {error:.1e}"
                for name, error in zip(("this record", "the other one"), self.errors, strict=True)
            ]
        return "\n".join(lines)


@dataclass(frozen=True)
class TraceDifference:
    """The result of `trace.compare`; `print` shows it in sentences.

    Attributes:
        steps: one result for each pair of steps, until the records part.
        parted: why they part after these steps, "" if both have the same steps.
    """

    steps: list[StepDifference]
    parted: str = ""

    @property
    def first(self) -> StepDifference | None:
        """The first step in which the records differ beyond rounding."""
        return next((found for found in self.steps if not found.ok), None)

    @property
    def ok(self) -> bool:
        """Whether both records have the same steps, and differ by rounding alone."""
        return not self.parted and self.first is None

    def __str__(self) -> str:
        counts = Counter(found.verdict for found in self.steps)
        shown = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        lines = [f"{len(self.steps)} steps compared{': ' + shown if shown else ''}"]
        if self.first is not None:
            lines.append(f"first difference: {self.first}")
        if self.parted:
            lines.append(f"the records part: {self.parted}")
        if self.ok:
            gaps = (found.gap for found in self.steps if found.step.phase == FORWARD)
            lines.append(
                "the records agree but for rounding; "
                f"the largest difference of a forward is {max(gaps, default=0.0):.1e}"
            )
        return "\n".join(lines)


def compare(steps: list[Step], others: list[Step]) -> TraceDifference:
    """Compare two records of the same model and input.

    A step is computed again by the operation as it is now: if an operation was mended between the
    records, it is the old record that has the bug.
    """
    found: list[StepDifference] = []
    updated: set[str | None] = set()  # parameters that carry the rounding of earlier steps
    for a, b in zip(steps, others, strict=False):
        parted = _parted(a, b)
        if parted:
            return TraceDifference(found, parted)
        found.append(_compared(a, b, steps, others, updated))
        if a.phase == UPDATE:
            updated.add(a.outputs[0].parameter)
    if len(steps) == len(others):
        return TraceDifference(found)
    longer, name = (steps, "this record") if len(steps) > len(others) else (others, "the other one")
    return TraceDifference(found, f"only {name} has step {len(found)}, {_name(longer[len(found)])}")


def _name(step: Step) -> str:
    return f"{step.phase} {step.path}"


def _parted(a: Step, b: Step) -> str:
    """Say why two steps cannot be compared, or return ""."""
    if (_name(a), a.call) != (_name(b), b.call):
        return f"step {a.number} is {_name(a)}, in the other record {_name(b)}"
    for ours, theirs in zip(_flow(a), _flow(b), strict=False):
        if (ours.name, ours.shape) != (theirs.name, theirs.shape):
            return (
                f"step {a.number}, {_name(a)}, has {ours.name} {ours.shape}, "
                f"in the other record {theirs.name} {theirs.shape}"
            )
    if len(_flow(a)) != len(_flow(b)):
        return f"step {a.number}, {_name(a)}, has another number of arrays in the other record"
    return ""


def _flow(step: Step) -> list[Value]:
    return [*step.inputs, *step.outputs]


def _compared(
    a: Step, b: Step, steps: list[Step], others: list[Step], updated: set[str | None]
) -> StepDifference:
    for option, text in a.options.items():
        if not _same_option(text, b.options.get(option, "")):
            detail = f"{option} = {text}, in the other record {b.options.get(option)}"
            return StepDifference(a, b, "options", detail)
    if any(value.array is None for value in (*_flow(a), *_flow(b))):
        return _by_statistics(a, b)
    rounding = ROUNDING * max(_eps(a), _eps(b))
    if a.phase == FORWARD:
        for x, y in zip(a.inputs, b.inputs, strict=True):
            given = x.source is None and y.source is None and x.parameter not in updated
            if given and _gap(x.array, y.array)[0] > rounding:
                what = x.parameter or x.name
                return StepDifference(a, b, "input", f"{what}, which was given, is not the same")
        if a.operation == "Dropout" and _gap(a.value("keep").array, b.value("keep").array)[0]:
            return StepDifference(a, b, "random", "another mask; set the same seed before both")
    gaps = [_gap(x.array, y.array) for x, y in zip(a.outputs, b.outputs, strict=True)]
    worst = max(range(len(gaps)), key=lambda n: gaps[n][0], default=None)
    if worst is None or gaps[worst][0] == 0:
        return StepDifference(a, b, "equal")
    gap, index = gaps[worst]
    detail = f"{a.outputs[worst].name} differs"
    if a.phase == UPDATE:
        verdict = "noise" if _update_explained(a, b, rounding) else "bug"
        return StepDifference(a, b, verdict, detail, gap, index)
    ours, theirs = _error(a, steps), _error(b, others)
    if ours is None or theirs is None:
        verdict = "noise" if gap <= rounding else "unclear"
        return StepDifference(a, b, verdict, detail, gap, index)
    wrong = ours > ROUNDING * _eps(a) or theirs > ROUNDING * _eps(b)
    return StepDifference(a, b, "bug" if wrong else "noise", detail, gap, index, (ours, theirs))


def _by_statistics(a: Step, b: Step) -> StepDifference:
    """Compare what is left of arrays for which there was no room."""
    rounding = ROUNDING * max(_eps(a), _eps(b))
    for x, y in zip(a.outputs, b.outputs, strict=True):
        ours, theirs = x.statistics, y.statistics
        size = max(abs(ours.min), abs(ours.max))
        pairs = ((ours.min, theirs.min), (ours.max, theirs.max), (ours.mean, theirs.mean))
        if any(abs(p - q) > rounding * size and min(abs(p), abs(q)) < HUGE for p, q in pairs):
            detail = f"the statistics of {x.name} differ; give `record` a larger limit"
            return StepDifference(a, b, "unclear", detail)
    return StepDifference(a, b, "noise")


# --- a step by itself ----------------------------------------------------------------------------


def _error(step: Step, steps: list[Step]) -> float | None:
    """Return how far the outputs of a step are from its computation in float64; None if unknown.

    If that is more than rounding, the inputs are moved by their own rounding, and the error counts
    as far as it is larger than the change: sums that cancel lose more digits than others.
    """
    exact = _outputs(step, steps, None)
    if exact is None:
        return None
    recorded = [value.array for value in step.outputs]
    errors = [_gap(y, found)[0] for y, found in zip(recorded, exact, strict=True)]
    if max(errors) <= ROUNDING * _eps(step):
        return max(errors)
    moved = _outputs(step, steps, np.random.default_rng(0))
    assert moved is not None
    changes = [_gap(y, found)[0] for y, found in zip(moved, exact, strict=True)]
    return max(
        error if error > ROUNDING * change else min(error, _eps(step))
        for error, change in zip(errors, changes, strict=True)
    )


def _outputs(step: Step, steps: list[Step], rng: Any) -> list[Any] | None:
    """Compute the outputs of a step in float64, with `rng` from inputs that are rounded anew."""
    forward = step if step.phase == FORWARD else None
    if step.phase != FORWARD:
        forward = None if step.partner is None else steps[step.partner]
    if forward is None or any(value.array is None for value in forward.values()):
        return None
    why, kind, options = run_again(forward)
    if why:
        return None

    def near(x: Any) -> Any:
        moved = wide(x)
        if rng is None or getattr(moved, "dtype", None) not in (np.float64, np.complex128):
            return moved
        return moved * (1 + _eps(step) * rng.uniform(-1, 1, moved.shape))

    if step.operation == "Dropout":
        return [masked(forward, options, near(step.inputs[0].array))]
    inputs = [near(x) for x in arrays(forward, kind)]
    if step.phase == FORWARD:
        found = run(kind, inputs, options)
        return list(found) if isinstance(found, tuple) else [found]
    names = [f"d{name}" for name in input_names(kind, len(inputs))]
    asked = [value.name for value in step.outputs]
    node = kind()
    node.needs_input_grad = tuple(name in asked for name in names)
    node.forward(*inputs, **options)
    found = node.backward(*(near(value.array) for value in step.inputs))
    gradients = found if isinstance(found, tuple) else (found,)
    known = dict(zip(names, gradients, strict=True))
    return [known[name] for name in asked]


def _update_explained(a: Step, b: Step, rounding: float) -> bool:
    """Return whether two updates of a parameter differ as their gradients and states do.

    The change of a number is a product of powers of its gradient and states (SGD, Adam): it differs
    at most as they do, relatively. A gradient that is nothing but rounding can have either sign.
    """
    before, dweight = a.inputs
    pairs = zip([dweight, *a.saved], [b.inputs[1], *b.saved], strict=True)
    relative: Any = rounding
    for x, y in ((wide(x.array), wide(y.array)) for x, y in pairs):
        if np.shape(x) == dweight.shape:
            relative = relative + np.abs(x - y) / np.maximum(np.abs(x), np.abs(y)).clip(1e-300)
    ours, theirs = (wide(s.outputs[0].array) - wide(s.inputs[0].array) for s in (a, b))
    allowed = 2 * relative * np.maximum(np.abs(ours), np.abs(theirs))
    allowed = allowed + rounding * np.abs(wide(before.array))
    return bool((np.abs(ours - theirs) <= allowed).all())


def _gap(a: Any, b: Any) -> tuple[float, tuple[int, ...] | None]:
    """Return the largest |a - b| / (|b| + size), and its index; infinite if only one is finite.

    size: the root mean square of b, without huge numbers.
    """
    a, b = wide(np.asarray(a)), wide(np.asarray(b))
    if a.size == 0 or a.shape != b.shape:
        return (0.0 if a.shape == b.shape else np.inf), None
    if a.dtype.kind not in "fc":
        a, b = a.astype(np.float64), b.astype(np.float64)
    size = np.abs(b)[np.abs(b) < HUGE]
    scale = float(np.sqrt(np.mean(size**2))) if size.size else 0.0
    with np.errstate(all="ignore"):
        gaps = np.abs(a - b) / (np.abs(b) + scale)
        both = np.isnan(a) & np.isnan(b) | (a == b)
        both |= (np.abs(a) > HUGE) & (np.abs(b) > HUGE) & (np.sign(a) == np.sign(b))
    gaps = np.where(both, 0.0, np.where(np.isfinite(gaps), gaps, np.inf))
    index = np.unravel_index(int(gaps.argmax()), gaps.shape)
    return float(gaps[index]), tuple(int(i) for i in index)


def _eps(step: Step) -> float:
    """Return the distance from 1 to the next number, in the coarsest dtype of a step."""
    dtypes = [np.dtype(v.dtype) for v in _flow(step) if not v.number]
    return max((float(np.finfo(d).eps) for d in dtypes if d.kind in "fc"), default=2.0**-52)


def _same_option(text: str, other: str) -> bool:
    """Return whether two options are equal; of the dtypes and masks of two precisions too."""
    if text == other:
        return True
    try:
        a, b = ast.literal_eval(text), ast.literal_eval(other)
        return min(a, b) > HUGE or max(a, b) < -HUGE
    except (ValueError, SyntaxError, TypeError):
        return "float" in text and "float" in other
