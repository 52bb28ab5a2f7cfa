"""Check of tape/unbroadcast."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.gradients import leaf_gradients
from tinybert.learn.patches import Patch

EXERCISE = Exercise(
    minutes=12,
    level=2,
    lesson=2,
    hints=(
        "How many axes were added? The difference of the numbers of axes; they are the first ones.",
        "`sum` takes a tuple of axes. Without the added axes, gradient and shape have equally many "
        "axes, and you can compare them one by one.",
        "An axis of length 1 in `shape` has to be there afterwards: keepdims=True keeps it.",
    ),
    forbidden={"unbroadcast": "write it here; the engine's unbroadcast is what you are building"},
    mutants=(
        Mutant(
            "axis 0 only",
            "tuple(range(added))",
            "0",
            "shape",
            "sum over the axes that were added, which can be none, one or several.",
        ),
        Mutant(
            "added axes left",
            "gradient.sum(axis=tuple(range(added)))",
            "gradient",
            "shape",
            "the axes that NumPy added in front have to be summed away.",
        ),
        Mutant(
            "axes of length 1 lost",
            "axis=repeated, keepdims=True",
            "axis=repeated",
            "shape",
            "an axis of length 1 has to stay: sum with keepdims=True.",
        ),
        Mutant(
            "mean instead of sum",
            "total.sum(axis=repeated, keepdims=True)",
            "total.mean(axis=repeated, keepdims=True)",
            "values",
            "a number that is used 5 times has 5 times the effect: add, do not average.",
        ),
        Mutant(
            "first of the repeated numbers",
            "total.sum(axis=repeated, keepdims=True)",
            "total.ravel()[: int(np.prod(shape))].reshape(shape)",
            "values",
            "all uses of a number count, not only the first ones.",
        ),
        Mutant(
            "adds in place",
            "total = gradient.sum(axis=tuple(range(added)))",
            "total = gradient\n    for _ in range(added):\n        for part in total[1:]:\n"
            "            total[0] += part\n        total = total[0]",
            "unchanged",
            "+= changes the caller's gradient: start from a new array.",
        ),
    ),
)
SHAPES = (
    ((4, 3), (4, 3)),
    ((4, 3), (3,)),
    ((4, 3), (4, 1)),
    ((2, 3, 5), (5,)),
    ((2, 3, 5), (3, 1)),
    ((2, 3, 5), (2, 1, 1)),
    ((2, 3, 4, 5), (3, 1, 5)),
)
EDGES = (((2, 3), ()), ((), ()), ((2, 1), (1,)), ((1, 1), (1, 1)), ((0, 3), (3,)), ((2, 0), (2, 1)))


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the gradient of the engine's broadcasting."""
    rng = np.random.default_rng(0)
    for stage, pairs in (("values", SHAPES), ("edges", EDGES)):
        for full, shape in pairs:
            gradient = rng.normal(size=full)
            x = Tensor(np.zeros(shape), requires_grad=True)
            (expected,) = leaf_gradients(x.expand(*full), gradient, x)
            yield Case(student.unbroadcast, (gradient, shape), expected, stage=stage)


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Compute the gradient of every bias with the learner's function."""
    return (Patch("tinybert.ops.linear.unbroadcast", student.unbroadcast),)
