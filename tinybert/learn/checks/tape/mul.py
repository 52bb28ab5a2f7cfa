"""Check of tape/mul."""

import operator
from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.gradients import gradients

EXERCISE = Exercise(
    minutes=8,
    level=1,
    lesson=2,
    hints=(
        "If a grows by a little, y grows by b times as much. So what does dy have to be multiplied "
        "with?",
        "dy has the shape of y, which can be larger than a: sum over the broadcast axes.",
        "Both inputs are kept in self.a and self.b; unbroadcast takes the product and the shape of "
        "the input that the gradient belongs to.",
    ),
    mutants=(
        Mutant(
            "factors swapped",
            "unbroadcast(dy * self.b, self.a.shape)",
            "unbroadcast(dy * self.a, self.a.shape)",
            "gradient",
            "the gradient of a has the factor b: the derivative of a * b with respect to a is b.",
        ),
        Mutant(
            "both factors swapped",
            "unbroadcast(dy * self.b, self.a.shape)\n        db = unbroadcast(dy * self.a, self.b.",
            "unbroadcast(dy * self.a, self.a.shape)\n        db = unbroadcast(dy * self.b, self.b.",
            "gradient",
            "the gradient of a has the factor b, and that of b the factor a.",
        ),
        Mutant(
            "gradient of b not summed",
            "unbroadcast(dy * self.a, self.b.shape)",
            "dy * self.a",
            "gradient",
            "where b was broadcast, its gradient is a sum.",
        ),
        Mutant(
            "dy left out",
            "dy * self.b",
            "0 * dy + self.b",
            "gradient",
            "the chain rule: multiply with the gradient dy that comes in.",
        ),
        Mutant(
            "one gradient missing",
            "return da, db",
            "return da, None",
            "shape",
            "both inputs need a gradient.",
        ),
        Mutant(
            "sum instead of broadcasting back",
            "unbroadcast(dy * self.a, self.b.shape)",
            "np.broadcast_to((dy * self.a).sum(), self.b.shape).copy()",
            "gradient",
            "only the broadcast axes are summed.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's own product."""
    rng = np.random.default_rng(0)
    for shape in ((2, 3), (3,), (2, 1), (5, 2, 3)):
        inputs = {"a": rng.normal(size=(2, 3)), "b": rng.normal(size=shape)}
        expected = gradients(operator.mul, inputs)
        yield Case(gradients, (student.Mul, inputs), expected, stage="gradient")
