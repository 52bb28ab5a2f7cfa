"""Check of parts/warmup."""

from collections.abc import Iterator
from types import ModuleType

from tinybert.learn.exercise import Case, Exercise, Mutant

_FALL = "max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))"
EXERCISE = Exercise(
    minutes=8,
    level=1,
    lesson=31,
    hints=(
        "Before step w, the factor is the share of the warm-up that is done.",
        "From step w on, it is the number of steps that are left, divided by the number of steps "
        "between w and n.",
        "max with 0 keeps the factor from becoming negative; max with 1 keeps a divisor from "
        "being 0.",
    ),
    forbidden={"get_linear_schedule_with_warmup": "write it here; this is what you are building"},
    mutants=(
        Mutant(
            "no warm-up",
            "return step / warmup_steps",
            "return 1.0",
            "values",
            "before step w the factor grows from 0 to 1.",
        ),
        Mutant(
            "one step ahead",
            "return step / warmup_steps",
            "return (step + 1) / warmup_steps",
            "values",
            "the factor is 0 at step 0, and 1 only at step w.",
        ),
        Mutant(
            "falls from step 0 on",
            "max(1, total_steps - warmup_steps)",
            "total_steps",
            "values",
            "the fall begins at step w: divide by the steps between w and n.",
        ),
        Mutant(
            "never falls",
            _FALL,
            "1.0",
            "values",
            "after step w the factor falls to 0 at step n.",
        ),
        Mutant(
            "share done instead of share left",
            "(total_steps - step) /",
            "(step - warmup_steps) /",
            "values",
            "after step w count what is left, from 1 to 0.",
        ),
        Mutant(
            "negative after the end",
            _FALL,
            "(total_steps - step) / max(1, total_steps - warmup_steps)",
            "edges",
            "after step n the factor stays 0; a negative rate would climb the loss.",
        ),
        Mutant(
            "divides by 0 without warm-up",
            "step < warmup_steps",
            "step <= warmup_steps",
            "edges",
            "with warmup_steps = 0 nothing may be divided by it: step 0 is not before step 0.",
        ),
        Mutant(
            "divides by 0 without a fall",
            "max(1, total_steps - warmup_steps)",
            "(total_steps - warmup_steps)",
            "edges",
            "if all steps are warm-up, total_steps - warmup_steps is 0.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with values worked out by hand."""
    for step, factor in enumerate((0.0, 0.25, 0.5, 0.75, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0)):
        yield Case(student.warmup, (step, 4, 9), factor)
    yield Case(student.warmup, (12, 4, 9), 0.0, stage="edges")
    for step, factor in enumerate((1.0, 0.5, 0.0)):  # no warm-up
        yield Case(student.warmup, (step, 0, 2), factor, stage="edges")
    for step, factor in enumerate((0.0, 0.5, 0.0)):  # warm-up alone
        yield Case(student.warmup, (step, 2, 2), factor, stage="edges")
