"""Check of parts/rms_norm."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.ops.rms_norm import rms_norm

EXERCISE = Exercise(
    minutes=15,
    level=3,
    lesson=17,
    hints=(
        "r has shape (N, 1): keepdims=True in the mean of the squares. g is dy times the weight.",
        "Put dr/dx_j into the sum: it is -r^3 * x_j times the mean of g * x over the features.",
        "Both terms of dx have a factor r. For dweight, multiply dy by what weight was multiplied "
        "by in forward.",
    ),
    forbidden={
        "rms_norm": "write it here; a ready RMSNorm is what you are building",
        "RMSNorm": "write it here; a ready RMSNorm is what you are building",
    },
    mutants=(
        Mutant(
            "the variance in place of the mean square",
            "(x * x).mean(axis=-1, keepdims=True) + eps",
            "x.var(axis=-1, keepdims=True) + eps",
            "values",
            "the variance subtracts the mean first, as LayerNorm does; RMSNorm does not.",
        ),
        Mutant(
            "eps outside of the root",
            "np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)",
            "(np.sqrt((x * x).mean(axis=-1, keepdims=True)) + eps)",
            "values",
            "eps is added to the mean of the squares, before the root.",
        ),
        Mutant(
            "r taken for a constant",
            "r * (g - x * r**2 * (g * x).mean(axis=-1, keepdims=True))",
            "r * g",
            "gradient",
            "r depends on x too: subtract what comes through r.",
        ),
        Mutant(
            "r^2 left out",
            "x * r**2 *",
            "x *",
            "gradient",
            "dr/dx_j has r^3; one r is the common factor, so r^2 remains in the second term.",
        ),
        Mutant(
            "sum instead of mean",
            "(g * x).mean(",
            "(g * x).sum(",
            "gradient",
            "dr/dx_j has the factor 1 / D, which makes the sum a mean.",
        ),
        Mutant(
            "weight left out of dx",
            "g = dy * weight",
            "g = dy",
            "gradient",
            "x * r is multiplied by weight, so g is dy * weight.",
        ),
        Mutant(
            "weight in dweight",
            "(dy * x * r)",
            "(g * x * r)",
            "gradient",
            "the factor of weight is x * r alone: use dy, not g.",
        ),
        Mutant(
            "r left out of dweight",
            "(dy * x * r)",
            "(dy * x)",
            "gradient",
            "weight is multiplied by x * r, not by x.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's own operation."""
    rng = np.random.default_rng(0)
    for count, size, eps in ((2, 5, 0.1), (7, 3, 1e-6), (1, 4, 1e-6)):
        x, dy, weight = *rng.normal(1, 2, (2, count, size)), rng.normal(size=size)
        yield from _cases(student, x, weight, eps, dy, "values", "gradient")
    x = np.zeros((2, 4))
    yield from _cases(student, x, rng.normal(size=4), 1e-6, rng.normal(size=(2, 4)), *["edges"] * 2)


def _cases(
    student: ModuleType,
    x: np.ndarray,
    weight: np.ndarray,
    eps: float,
    dy: np.ndarray,
    first: str,
    second: str,
) -> Iterator[Case]:
    """Yield a case for y alone, then one for all that is returned."""
    tensors = Tensor(x, requires_grad=True), Tensor(weight, requires_grad=True)
    y = rms_norm(tensors[0], weight.shape, tensors[1], eps)
    y.backward(dy)
    gradients = [tensor.grad.numpy() for tensor in tensors if tensor.grad is not None]
    arguments, what = (x, weight, eps, dy), f"y of rms_norm for x {x.shape}, eps={eps}"
    yield Case(_first(student.rms_norm), arguments, y.numpy(), stage=first, what=what)
    names = ("y", "dx", "dweight")
    expected = (y.numpy(), *gradients)
    yield Case(student.rms_norm, arguments, expected, stage=second, names=names)


def _first(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that gives the first of several results."""

    def call(*arguments: Any) -> Any:
        results = function(*arguments)
        return results[0] if isinstance(results, tuple) else results

    return call
