"""Check of loss/softmax_backward."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.gradients import leaf_gradients
from tinybert.learn.patches import Patch

EXERCISE = Exercise(
    minutes=12,
    level=3,
    lesson=15,
    hints=(
        "With d_ij = 1 for i = j and 0 otherwise, both cases are one: p_i (d_ij - p_j).",
        "The part with d_ij leaves dp_j p_j. The other part is p_j times the sum over i of "
        "dp_i p_i, one number for each row.",
        "Subtract this sum of the row from dp, and multiply the difference with p. keepdims=True "
        "lets the sum broadcast.",
    ),
    forbidden={"Tensor": "a Tensor would do it for you; write it with NumPy"},
    mutants=(
        Mutant(
            "zeros",
            "p * (dp - (dp * p).sum(axis=axis, keepdims=True))",
            "0 * dp",
            "gradient",
            "0 is right only if dp is the same for the whole row; dp differs here.",
        ),
        Mutant(
            "diagonal only",
            "p * (dp - (dp * p).sum(axis=axis, keepdims=True))",
            "dp * p * (1 - p)",
            "gradient",
            "a score moves the other probabilities of its row as well: -p_i p_j.",
        ),
        Mutant(
            "the sum left out",
            "(dp - (dp * p).sum(axis=axis, keepdims=True))",
            "dp",
            "gradient",
            "the other probabilities shrink when one grows: subtract the sum of dp p.",
        ),
        Mutant(
            "sum over the whole array",
            "(dp * p).sum(axis=axis, keepdims=True)",
            "(dp * p).sum()",
            "gradient",
            "each row is a softmax of its own: sum over `axis` only.",
        ),
        Mutant(
            "sum of dp without p",
            "(dp * p).sum",
            "dp.sum",
            "gradient",
            "the sum is over dp_i p_i.",
        ),
        Mutant(
            "mean instead of sum",
            "(dp * p).sum",
            "(dp * p).mean",
            "gradient",
            "the probabilities p are the weights already: a sum, not a mean.",
        ),
        Mutant(
            "always the last axis",
            "axis=axis",
            "axis=-1",
            "gradient",
            "the sum has to run over `axis`, as in forward.",
        ),
        Mutant(
            "changes dp",
            "return p * (dp - (dp * p).sum(axis=axis, keepdims=True))",
            "dp -= (dp * p).sum(axis=axis, keepdims=True)\n    return p * dp",
            "unchanged",
            "-= changes the caller's array.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's softmax."""
    rng = np.random.default_rng(0)
    for shape, axis in (((5,), -1), ((2, 3), -1), ((2, 4, 3), 1), ((3, 2, 5, 4), 0)):
        scores = Tensor(rng.normal(size=shape), requires_grad=True)
        p, dp = scores.softmax(axis), rng.normal(size=shape)
        (expected,) = leaf_gradients(p, dp, scores)
        yield Case(student.softmax_backward, (dp, p.numpy(), axis), expected, stage="gradient")
    sure, dp = np.array([[0.0, 1.0, 0.0]]), np.array([[3.0, -2.0, 5.0]])
    yield Case(student.softmax_backward, (dp, sure), np.zeros((1, 3)), stage="edges")


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Run the learner's function as the backward of all softmaxes."""

    def softmax_backward(y: np.ndarray, dy: np.ndarray) -> np.ndarray:
        return student.softmax_backward(dy, y)

    return (Patch("tinybert.ops.softmax.softmax_backward", softmax_backward),)
