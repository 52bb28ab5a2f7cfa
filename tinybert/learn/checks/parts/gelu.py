"""Check of parts/gelu."""

import math
from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch
from tinybert.ops.gelu import linear_gelu_forward

EXERCISE = Exercise(
    minutes=8,
    level=1,
    lesson=16,
    hints=(
        "normal_cdf gives Phi for a whole array. Only the density phi has to be written with exp.",
        "In the density, exp gets minus half of the square of x, and 2 pi is under the root.",
        "The slope has two terms by the product rule: Phi(x), and x times the density.",
    ),
    forbidden={
        "gelu": "write it here; a ready GELU is what you are building",
        "gelu_forward": "write it here; a ready GELU is what you are building",
    },
    mutants=(
        Mutant(
            "the approximation by tanh",
            "cdf = normal_cdf(x)",
            "cdf = (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2",
            "values",
            "the formula with tanh differs by up to 0.0005. It is another activation, gelu_new; "
            "call normal_cdf.",
        ),
        Mutant(
            "slope without x * phi(x)",
            "cdf + x * density",
            "cdf",
            "values",
            "Phi(x) depends on x too, so the product rule gives a second term, x * phi(x).",
        ),
        Mutant(
            "slope without the factor x",
            "cdf + x * density",
            "cdf + density",
            "values",
            "in the second term of the product rule, the density is multiplied by x.",
        ),
        Mutant(
            "no 1/2 in the exponent",
            "np.exp(-x * x / 2)",
            "np.exp(-x * x)",
            "values",
            "the density of the normal distribution has exp(-x^2 / 2).",
        ),
        Mutant(
            "root of pi",
            "math.sqrt(2 * math.pi)",
            "math.sqrt(math.pi)",
            "values",
            "the density is divided by sqrt(2 pi); only then its integral is 1.",
        ),
        Mutant(
            "slope of ReLU",
            "cdf + x * density",
            "(x > 0).astype(x.dtype)",
            "values",
            "ReLU jumps from 0 to 1. GELU has a smooth slope: differentiate x * Phi(x).",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with math.erf, element by element."""
    rng = np.random.default_rng(0)
    erf = np.vectorize(math.erf)
    for shape in ((7,), (2, 3), (2, 3, 5)):
        x = 2 * rng.normal(size=shape)
        cdf = (1 + erf(x / math.sqrt(2))) / 2
        slope = cdf + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        yield Case(student.gelu, (x,), (x * cdf, slope), names=("y", "slope"))
    far = np.array([-50.0, 0.0, 50.0])
    expected = np.array([0.0, 0.0, 50.0]), np.array([0.0, 0.5, 1.0])
    yield Case(student.gelu, (far,), expected, names=("y", "slope"), stage="edges")


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Run the learner's function in every feed-forward layer, after a product that is not fused."""
    module = "tinybert.ops.gelu"
    return (
        Patch(f"{module}.gelu_forward", lambda x, want_slope: student.gelu(x)),
        Patch(f"{module}.linear_gelu_forward", linear_gelu_forward.formula),
    )
