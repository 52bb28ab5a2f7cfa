"""Check of tape/tanh."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert import functional as F
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.gradients import gradients

EXERCISE = Exercise(
    minutes=5,
    level=1,
    lesson=3,
    hints=(
        "The chain rule: dL/dx is dL/dy times dy/dx, for every element.",
        "tanh(x) is there already, under another name.",
    ),
    mutants=(
        Mutant(
            "1 - x^2",
            "self.y**2",
            "self.x**2",
            "gradient",
            "the derivative is 1 - tanh(x)^2: square the output, not the input.",
        ),
        Mutant(
            "square left out",
            "self.y**2",
            "self.y",
            "gradient",
            "the derivative is 1 - tanh(x)^2, with a square.",
        ),
        Mutant(
            "dy left out",
            "dy * (1 - self.y**2)",
            "1 - self.y**2",
            "gradient",
            "the chain rule: multiply with dy, the gradient that comes in.",
        ),
        Mutant(
            "sign",
            "(1 - self.y**2)",
            "(self.y**2 - 1)",
            "gradient",
            "tanh grows everywhere, so its derivative 1 - y^2 is not negative.",
        ),
        Mutant(
            "1 - left out",
            "(1 - self.y**2)",
            "self.y**2",
            "gradient",
            "at 0 tanh has its largest slope, 1; y^2 is 0 there.",
        ),
        Mutant(
            "1 + y^2",
            "(1 - self.y**2)",
            "(1 + self.y**2)",
            "gradient",
            "1 + y^2 is the derivative of the tangent; that of tanh is 1 - y^2.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's tanh."""
    rng = np.random.default_rng(0)
    for shape in ((5,), (2, 3), (4, 1, 3, 2)):
        x = {"x": rng.normal(size=shape)}
        yield Case(gradients, (student.Tanh, x), gradients(F.tanh, x), stage="gradient")
    x = {"x": np.array([0.0, 1e-9, -30.0, 1000.0])}
    yield Case(gradients, (student.Tanh, x), gradients(F.tanh, x), stage="edges")
