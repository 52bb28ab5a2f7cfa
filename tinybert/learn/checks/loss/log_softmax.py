"""Check of loss/log_softmax."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert import functional as F
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.gradients import gradients, value

EXERCISE = Exercise(
    minutes=15,
    level=3,
    lesson=15,
    hints=(
        "forward: subtract the maximum of each row; then subtract the logarithm of the sum of exp. "
        "Both with keepdims=True.",
        "backward: in the sum over i, the 1 leaves dy_j, and -p_j is the same in every term: what "
        "is left of the sum is the sum of dy over the row.",
        "p is exp(y): keep y on self, and no second softmax is needed.",
    ),
    forbidden={
        "log_softmax": "write it here; a ready log_softmax is what you are building",
        "softmax": "the logarithm of a finished softmax is -inf for small probabilities",
        "logsumexp": "write the logarithm of the sum here",
    },
    mutants=(
        Mutant(
            "logarithm of a finished softmax",
            "shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))",
            "np.log(np.exp(shifted) / np.exp(shifted).sum(axis=-1, keepdims=True))",
            "edges",
            "a small probability becomes 0, and log 0 is -inf: take the logarithm on paper.",
        ),
        Mutant(
            "no maximum subtracted",
            "x - x.max(axis=-1, keepdims=True)",
            "x",
            "edges",
            "exp of a large score is infinite: subtract the maximum of the row first.",
        ),
        Mutant(
            "maximum of the whole array",
            "x.max(axis=-1, keepdims=True)",
            "x.max()",
            "edges",
            "a row far below the overall maximum has a sum of 0: use the maximum of each row.",
        ),
        Mutant(
            "the maximum stays",
            "self.y = shifted -",
            "self.y = x -",
            "values",
            "the sum of exp was taken without the maximum: subtract it from x as well.",
        ),
        Mutant(
            "p left out",
            "np.exp(self.y) * dy.sum(",
            "dy.sum(",
            "gradient",
            "every score moves the sum by its share p_j: the sum of dy has the factor p.",
        ),
        Mutant(
            "sum left out",
            "dy.sum(axis=-1, keepdims=True)",
            "dy",
            "gradient",
            "every y_i of the row depends on x_j: the factor of p_j is the sum of dy over the row.",
        ),
        Mutant(
            "y for p",
            "np.exp(self.y)",
            "self.y",
            "gradient",
            "y is log p: the probabilities are exp(y).",
        ),
        Mutant(
            "sign",
            "dy - np.exp(self.y)",
            "dy + np.exp(self.y)",
            "gradient",
            "a larger score lowers the others: -p_j.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the definition, in which nothing overflows for small scores, and the engine."""
    rng = np.random.default_rng(0)
    for shape in ((5,), (2, 3), (2, 4, 3)):
        x = rng.normal(size=shape)
        expected = np.log(np.exp(x) / np.exp(x).sum(-1, keepdims=True))
        yield Case(value, (student.LogSoftmax, x), expected)
        expected = gradients(F.log_softmax, {"x": x})
        yield Case(gradients, (student.LogSoftmax, {"x": x}), expected, stage="gradient")
    large = np.array([[1000.0, 0.0], [-1000.0, -3000.0]])
    expected = np.array([[0.0, -1000.0], [0.0, -2000.0]])
    yield Case(value, (student.LogSoftmax, large), expected, stage="edges")
    expected = gradients(F.log_softmax, {"x": large})
    yield Case(gradients, (student.LogSoftmax, {"x": large}), expected, stage="edges")
