"""Check of ranks/conjugate."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.gradients import leaf_gradients

_DX = "sum(d @ part for d, part in zip(dz, first, strict=True))"
EXERCISE = Exercise(
    minutes=15,
    level=3,
    lesson=53,
    hints=(
        "Take one rank first: it is a layer of fewer neurons, and dy is the same for every rank, "
        "because g passes it on.",
        "The gradient of z_r is dy times second_r where z_r is above 0, and 0 elsewhere.",
        "first_r and second_r are on one rank, so their gradients are too. x is on all of them.",
    ),
    mutants=(
        Mutant(
            "no f: the gradient of one rank",
            _DX,
            "dz[0] @ first[0]",
            "gradient",
            "x is used by all ranks; its gradient is the sum of what they find.",
        ),
        Mutant(
            "mean over the ranks",
            _DX,
            _DX + " / len(first)",
            "gradient",
            "the ranks compute different neurons, not the same ones: add, without a division.",
        ),
        Mutant(
            "dy divided among the ranks",
            "(dy @ part) * (z > 0)",
            "(dy / len(first) @ part) * (z > 0)",
            "gradient",
            "y is a sum of terms, and each term has the whole dy as its gradient.",
        ),
        Mutant(
            "slope of ReLU lost",
            " * (z > 0)",
            "",
            "gradient",
            "where a neuron is below 0, its output is 0 and nothing is passed back.",
        ),
        Mutant(
            "neurons before ReLU",
            "np.maximum(z, 0)",
            "z",
            "gradient",
            "second_r multiplies what comes after ReLU.",
        ),
        Mutant(
            "matrices summed as well",
            "return dx, dfirst, dsecond",
            "return dx, [sum(dfirst)] * len(first), [sum(dsecond)] * len(first)",
            "gradient",
            "each rank has neurons of its own: gradients of the matrices are not exchanged.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the same layer on one rank."""
    rng = np.random.default_rng(0)
    for ranks in (2, 3, 1):
        x, dy = rng.normal(size=(2, 5, 4))
        first, second = rng.normal(size=(ranks, 2, 4)), rng.normal(size=(ranks, 4, 2))
        whole = np.concatenate(list(first)), np.concatenate(list(second), axis=1)
        leaves = [Tensor(array, requires_grad=True) for array in (x, *whole)]
        y = F.linear(F.relu(F.linear(leaves[0], leaves[1])), leaves[2])
        dx, dfirst, dsecond = leaf_gradients(y, dy, *leaves)
        expected = dx, np.split(dfirst, ranks), np.split(dsecond, ranks, axis=1)
        yield Case(
            student.split_backward,
            (dy, x, list(first), list(second)),
            expected,
            stage="gradient",
            names=("dx", "dfirst", "dsecond"),
        )
