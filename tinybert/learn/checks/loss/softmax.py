"""Check of loss/softmax."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch

EXERCISE = Exercise(
    minutes=10,
    level=2,
    lesson=15,
    hints=(
        "Subtract the largest score of each row first: then no exponent is above 0.",
        "x.max(axis=axis) loses an axis; NumPy can keep it with length 1, so that it broadcasts.",
        "Both the maximum and the sum need keepdims=True. Name the exponentials, and divide them "
        "by their sum.",
    ),
    forbidden={"softmax": "write it here; a ready softmax is what you are building"},
    mutants=(
        Mutant(
            "no maximum subtracted",
            "x - x.max(axis=axis, keepdims=True)",
            "x",
            "edges",
            "exp of a large score is infinite; subtract the maximum first.",
        ),
        Mutant(
            "maximum of the whole array",
            "x.max(axis=axis, keepdims=True)",
            "x.max()",
            "edges",
            "a row far below the overall maximum becomes 0 / 0; take the maximum of each row.",
        ),
        Mutant(
            "always the last axis",
            "e / e.sum(axis=axis, keepdims=True)",
            "e / e.sum(axis=-1, keepdims=True)",
            "values",
            "the sum has to run over `axis`.",
        ),
        Mutant(
            "the sum of the whole array",
            "e / e.sum(axis=axis, keepdims=True)",
            "e / e.sum()",
            "values",
            "each row has to add up to 1, not the whole array.",
        ),
        Mutant(
            "no keepdims",
            "e / e.sum(axis=axis, keepdims=True)",
            "e / e.sum(axis=axis)",
            "values",
            "the sums have lost an axis; keepdims=True keeps it with length 1, which broadcasts.",
        ),
        Mutant(
            "axis lost in the sum",
            "e / e.sum(axis=axis, keepdims=True)",
            "(e.swapaxes(0, axis) / e.sum(axis=axis)).swapaxes(0, axis)",
            "values",
            "without keepdims=True the sums line up with the wrong axis.",
        ),
        Mutant(
            "overwrites x",
            "e = np.exp(x - x.max(axis=axis, keepdims=True))",
            "x -= x.max(axis=axis, keepdims=True)\n    e = np.exp(x)",
            "unchanged",
            "-= changes the caller's array.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the definition, in which nothing overflows for small scores."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 3, 5))
    e = np.exp(x)
    yield Case(student.softmax, (x,), e / e.sum(-1, keepdims=True))
    for axis in (0, 1, -1):
        yield Case(student.softmax, (x, axis), e / e.sum(axis, keepdims=True))
    yield Case(student.softmax, (x[0, 0],), e[0, 0] / e[0, 0].sum())
    half = np.array([[1, 2]], np.float32)
    yield Case(student.softmax, (half,), np.exp(half) / np.exp(half).sum(), tolerance=1e-6)
    large = np.array([[1000.0, 1000.0], [-1000.0, -1000.0]])
    yield Case(student.softmax, (large,), np.full((2, 2), 0.5), stage="edges")
    masked = np.array([0.0, -np.inf, 0.0])
    yield Case(student.softmax, (masked,), np.array([0.5, 0.0, 0.5]), stage="edges")


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Run the learner's softmax in place of the engine's."""
    return (Patch("tinybert.ops.softmax.softmax_forward", student.softmax),)
