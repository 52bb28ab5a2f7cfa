"""Check of parts/layer_norm."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch
from tinybert.ops import layer_norm as engine

EXERCISE = Exercise(
    minutes=8,
    level=1,
    lesson=17,
    hints=(
        "Mean and variance over the last axis have one number for each token.",
        "NumPy can keep the reduced axis with length 1; the result then broadcasts against x.",
        "Subtract the mean with keepdims=True; the variance is the mean of the squares of what "
        "is left. Add eps to it before the square root.",
    ),
    forbidden={"LayerNorm": "write it here; a ready LayerNorm is what you are building"},
    mutants=(
        Mutant(
            "keepdims forgotten",
            "x.mean(axis=-1, keepdims=True)",
            "x.mean(axis=-1)",
            "values",
            "the mean has lost the last axis and does not broadcast against x; pass keepdims=True.",
        ),
        Mutant(
            "divided by D - 1",
            "variance = (centred**2).mean(axis=-1, keepdims=True)",
            "variance = x.var(axis=-1, ddof=1, keepdims=True)",
            "values",
            "the variance is a mean over all D features: ddof must be 0.",
        ),
        Mutant(
            "mean not subtracted",
            "return centred /",
            "return x /",
            "values",
            "subtract the mean before you divide.",
        ),
        Mutant(
            "divided by the variance",
            "np.sqrt(variance + eps)",
            "(variance + eps)",
            "values",
            "divide by the standard deviation, which is the square root of the variance.",
        ),
        Mutant(
            "over the tokens",
            "centred = x - x.mean(axis=-1, keepdims=True)\n"
            "    variance = (centred**2).mean(axis=-1, keepdims=True)",
            "centred = x - x.mean(axis=-2, keepdims=True)\n"
            "    variance = (centred**2).mean(axis=-2, keepdims=True)",
            "values",
            "mean and variance belong to one token: compute them over its features, the last axis.",
        ),
        Mutant(
            "over the whole array",
            "centred = x - x.mean(axis=-1, keepdims=True)\n"
            "    variance = (centred**2).mean(axis=-1, keepdims=True)",
            "centred = x - x.mean()\n    variance = (centred**2).mean()",
            "values",
            "each token has its own mean and variance, over the last axis.",
        ),
        Mutant(
            "eps outside of the root",
            "np.sqrt(variance + eps)",
            "(np.sqrt(variance) + eps)",
            "edges",
            "eps is added to the variance, before the square root.",
        ),
        Mutant(
            "no eps",
            "np.sqrt(variance + eps)",
            "np.sqrt(variance)",
            "edges",
            "without eps, a token with equal features is divided by 0.",
        ),
        Mutant(
            "x changed in place",
            "centred = x - x.mean(axis=-1, keepdims=True)",
            "x -= x.mean(axis=-1, keepdims=True)\n    centred = x",
            "unchanged",
            "-= changes the caller's array.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with a loop over the rows."""
    rng = np.random.default_rng(0)
    for shape in ((2, 3, 5), (4, 7), (6,), (2, 3, 4, 5)):
        x = rng.normal(1, 2, shape)
        weight, bias = rng.normal(size=shape[-1]), rng.normal(size=shape[-1])
        yield Case(student.layer_norm, (x, weight, bias), _expected(x, weight, bias, 1e-12))
    x32, weight32, bias32 = (array.astype(np.float32) for array in (x, weight, bias))
    right = _expected(x32, weight32, bias32, 1e-12).astype(np.float32)
    yield Case(student.layer_norm, (x32, weight32, bias32), right, tolerance=1e-5)
    x, weight, bias = rng.normal(size=(3, 4)), np.ones(4), np.zeros(4)
    right = _expected(x, weight, bias, 0.5)
    yield Case(student.layer_norm, (x, weight, bias, 0.5), right, stage="edges")
    equal = np.full((2, 4), 3.0)
    yield Case(student.layer_norm, (equal, weight, bias), np.zeros((2, 4)), stage="edges")


def _expected(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    rows = [
        (row - row.sum() / row.size) / (row.var() + eps) ** 0.5 * weight + bias
        for row in x.reshape(-1, x.shape[-1])
    ]
    return np.array(rows).reshape(x.shape)


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Take y from the learner, and what backward needs from the engine."""
    kernel = engine.layer_norm_forward

    def forward(x: Any, weight: Any, bias: Any, eps: float) -> Any:
        return (student.layer_norm(x, weight, bias, eps), *kernel(x, weight, bias, eps)[1:])

    return (Patch("tinybert.ops.layer_norm.layer_norm_forward", forward),)
