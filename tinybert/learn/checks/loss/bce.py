"""Check of loss/bce."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.gradients import leaf_gradients

EXERCISE = Exercise(
    minutes=12,
    level=2,
    lesson=26,
    hints=(
        "The formula of the loss works on whole arrays: np.maximum(x, 0) compares each element "
        "with 0; np.maximum and x.max are not the same.",
        "The mean is over all elements, of all axes: one number.",
        "dx: each element is one of x.size terms of the mean.",
    ),
    forbidden={
        "binary_cross_entropy_with_logits": "write it here; this is what you are building",
        "Tensor": "a Tensor would compute the gradient for you; write it with NumPy",
    },
    mutants=(
        Mutant(
            "sigmoid, then log",
            "np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))",
            "-(t * np.log(sigmoid(x)) + (1 - t) * np.log(1 - sigmoid(x)))",
            "edges",
            "for large scores the sigmoid is 0 or 1, and log 0 is -inf: use the stable formula.",
        ),
        Mutant(
            "exp overflows",
            "np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))",
            "np.log1p(np.exp(x)) - x * t",
            "edges",
            "exp of a large score is infinite: in the stable formula no exponent is above 0.",
        ),
        Mutant(
            "targets swapped",
            "- x * t +",
            "- x * (1 - t) +",
            "values",
            "t = 1 is yes: a large score has then a small loss.",
        ),
        Mutant(
            "sign of x t",
            "- x * t +",
            "+ x * t +",
            "values",
            "x t is subtracted: for t = 1 a larger score has a smaller loss.",
        ),
        Mutant(
            "absolute value left out",
            "np.exp(-np.abs(x))",
            "np.exp(-x)",
            "values",
            "the exponent is -|x|: for a negative x it would be above 0.",
        ),
        Mutant(
            "a mean for each row",
            "losses.mean()",
            "losses.mean(axis=-1)",
            "shape",
            "the loss is one number: the mean over all elements.",
        ),
        Mutant(
            "sum instead of mean",
            "losses.mean()",
            "losses.sum()",
            "values",
            "the loss is the mean over all elements.",
        ),
        Mutant(
            "dx divided by the rows",
            "/ x.size",
            "/ len(x)",
            "values",
            "the mean is over all elements of x, not over its rows: divide by x.size.",
        ),
        Mutant(
            "sign of dx",
            "(sigmoid(x) - t)",
            "(t - sigmoid(x))",
            "values",
            "if the answer is yes, the loss falls as the score grows: dx is negative.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's loss."""
    rng = np.random.default_rng(0)
    extreme = np.array([[1000.0, -1000.0, 1000.0, -1000.0, 40.0, -800.0]])
    for x, t, stage in (
        (rng.normal(size=5), np.array([1.0, 0.0, 1.0, 1.0, 0.0]), "values"),
        (rng.normal(size=(4, 3)), rng.integers(2, size=(4, 3)).astype(float), "values"),
        (3 * rng.normal(size=(2, 3, 5)), rng.uniform(size=(2, 3, 5)), "values"),
        (extreme, np.array([[1.0, 0.0, 0.0, 1.0, 1.0, 0.0]]), "edges"),
    ):
        tensor = Tensor(x, requires_grad=True)
        loss = F.binary_cross_entropy_with_logits(tensor, t)
        expected = loss.item(), *leaf_gradients(loss, 1.0, tensor)
        yield Case(student.bce, (x, t), expected, stage=stage, names=("loss", "dx"))
