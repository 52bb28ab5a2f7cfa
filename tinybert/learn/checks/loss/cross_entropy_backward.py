"""Check of loss/cross_entropy_backward."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.gradients import leaf_gradients

EXERCISE = Exercise(
    minutes=12,
    level=3,
    lesson=26,
    hints=(
        "The target of a row is 1 at its label and 0 elsewhere: labels[:, None] == a row of the "
        "class numbers 0 to C - 1.",
        "A factor of 0 for ignored rows: labels != -100, as a column.",
        "The loss was a mean over the rows that count: divide by their number. The loss itself has "
        "the gradient dy.",
    ),
    forbidden={"Tensor": "a Tensor would do it for you; write it with NumPy"},
    mutants=(
        Mutant(
            "not divided",
            " / counts.sum()",
            "",
            "gradient",
            "the loss is a mean: each row has the factor 1 / (number of rows that count).",
        ),
        Mutant(
            "divided by all rows",
            "counts.sum()",
            "len(labels)",
            "gradient",
            "ignored rows are not in the mean: divide by the number of the others.",
        ),
        Mutant(
            "ignored rows move",
            " * counts[:, None]",
            "",
            "gradient",
            "a row with the label -100 has no influence on the loss: its gradient is 0.",
        ),
        Mutant(
            "target left out",
            "(p - target)",
            "p",
            "gradient",
            "at the label the gradient is p - 1: otherwise every score would be lowered.",
        ),
        Mutant(
            "dy left out",
            "dy * (p - target)",
            "(p - target)",
            "gradient",
            "the loss may be a part of another one: the chain rule has the factor dy.",
        ),
        Mutant(
            "sign",
            "(p - target)",
            "(target - p)",
            "gradient",
            "the score of the right class has a negative gradient: the loss falls if it grows.",
        ),
        Mutant(
            "-1 at the label only",
            "(p - target)",
            "(0 - target)",
            "gradient",
            "this is the gradient by log p; that by the scores has p in every place.",
        ),
        Mutant(
            "changes p",
            "(p - target)",
            "np.subtract(p, target, out=p)",
            "unchanged",
            "p belongs to forward, and may be used again: make a new array.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's loss."""
    rng = np.random.default_rng(0)
    for size, labels, stage in (
        ((4, 3), [2, 0, 1, 1], "gradient"),
        ((5, 130), [-100, 2, 129, -100, 0], "gradient"),
        ((1, 7), [3], "gradient"),
        ((3, 1), [0, -100, 0], "edges"),
    ):
        scores, ids, dy = rng.normal(size=size), np.array(labels), round(float(rng.normal()), 2)
        tensor = Tensor(scores, requires_grad=True)
        p = tensor.detach().softmax(-1).numpy()
        (expected,) = leaf_gradients(F.cross_entropy(tensor, ids), dy, tensor)
        yield Case(student.cross_entropy_backward, (dy, p, ids), expected, stage=stage)
