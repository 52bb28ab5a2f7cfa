"""Check of parts/silu_relu2."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.ops.relu import Relu2
from tinybert.ops.silu import Silu

EXERCISE = Exercise(
    minutes=10,
    level=2,
    lesson=16,
    hints=(
        "silu is a product of two functions of x. The product rule gives one term for each.",
        "The first term is sigmoid(x) * 1, the second x times the derivative of the sigmoid.",
        "Above 0, relu2 is x^2, with the derivative 2x. Below 0 it is constant.",
    ),
    mutants=(
        Mutant(
            "SiLU: only the sigmoid",
            "s + x * s * (1 - s)",
            "s",
            "gradient",
            "sigmoid(x) depends on x too: the product rule adds x times its derivative.",
        ),
        Mutant(
            "SiLU: only x times the slope of the sigmoid",
            "s + x * s * (1 - s)",
            "x * s * (1 - s)",
            "gradient",
            "the product rule has two terms; the one in which x is differentiated is missing.",
        ),
        Mutant(
            "SiLU: no factor x",
            "s + x * s * (1 - s)",
            "s + s * (1 - s)",
            "gradient",
            "in the second term of the product rule, the derivative of the sigmoid is multiplied "
            "by x.",
        ),
        Mutant(
            "relu2: 2x below 0 too",
            "2 * np.maximum(x, 0)",
            "2 * x",
            "gradient",
            "below 0 relu2 is constant, so its derivative there is 0.",
        ),
        Mutant(
            "relu2: slope of ReLU",
            "2 * np.maximum(x, 0)",
            "(x > 0)",
            "gradient",
            "that is the derivative of max(x, 0), without the square.",
        ),
        Mutant(
            "relu2: dy left out",
            "dy * 2 *",
            "2 *",
            "gradient",
            "the chain rule: multiply by the gradient dy that comes in.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's own operations."""
    rng = np.random.default_rng(0)
    names = ("dx of silu", "dx of relu2")
    for shape in ((2, 3), (2, 3, 5), (7,)):
        x, dy = 2 * rng.normal(size=shape), rng.normal(size=shape)
        expected = _backward(Silu(), x, dy), _backward(Relu2(), x, dy)
        yield Case(student.backward, (x, dy), expected, names=names, stage="gradient")
    x, dy = np.array([-1000.0, 0.0, 1000.0]), np.array([2.0, -3.0, 0.5])
    expected = np.array([0.0, -1.5, 0.5]), np.array([0.0, 0.0, 1000.0])
    yield Case(student.backward, (x, dy), expected, names=names, stage="edges")


def _backward(node: Silu | Relu2, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    node.needs_input_grad = (True,)
    node.forward(x)
    gradient: np.ndarray = node.backward(dy)
    return gradient
