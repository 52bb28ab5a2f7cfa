"""Check of tape/linear_backward."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.gradients import leaf_gradients
from tinybert.learn.patches import Patch

EXERCISE = Exercise(
    minutes=12,
    level=2,
    lesson=1,
    hints=(
        "Make dy a matrix (B T, O) and x a matrix (B T, I): then only matrix products and one sum "
        "are left.",
        "dx: dy (..., O) times weight (O, I) needs no transpose. dweight (O, I): which product of "
        "(B T, O) and (B T, I) gives it?",
        "The bias is added to every row, so dbias is dy summed over all rows, not over outputs.",
    ),
    mutants=(
        Mutant(
            "bias summed over the outputs",
            "rows.sum(axis=0)",
            "rows.sum(axis=-1)",
            "shape",
            "there is one bias for each output: sum over the rows (axis 0).",
        ),
        Mutant(
            "mean over the rows for the bias",
            "rows.sum(axis=0)",
            "rows.mean(axis=0)",
            "gradient",
            "add the rows; a mean belongs to the loss, and dy has it already.",
        ),
        Mutant(
            "gradient of the weight transposed",
            "rows.T @ x.reshape(-1, x.shape[-1])",
            "x.reshape(-1, x.shape[-1]).T @ rows",
            "shape",
            "weight is (out, in), and so is its gradient.",
        ),
        Mutant(
            "last sequence only",
            "rows.T @ x.reshape(-1, x.shape[-1])",
            "np.atleast_2d(dy[-1]).T @ np.atleast_2d(x[-1])",
            "gradient",
            "the weight was used by every sequence of the batch: sum over all of them.",
        ),
        Mutant(
            "weight transposed in dx",
            "dy @ weight",
            "dy @ weight.T",
            "gradient",
            "forward has the transpose; dy (..., O) times weight (O, I) is (..., I) without it.",
        ),
        Mutant(
            "one dweight for each sequence",
            "rows.T @ x.reshape(-1, x.shape[-1])",
            "dy.swapaxes(-1, -2) @ x",
            "shape",
            "the batch has to be summed as well: make dy and x matrices first.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's linear layer."""
    rng = np.random.default_rng(0)
    for shape in ((2, 4, 3), (6, 3), (2, 1, 5, 3), (3,)):
        arrays = rng.normal(size=shape), rng.normal(size=(7, 3)), rng.normal(size=7)
        tensors = [Tensor(array, requires_grad=True) for array in arrays]
        dy = rng.normal(size=(*shape[:-1], 7))
        expected = leaf_gradients(F.linear(*tensors), dy, *tensors)
        yield Case(
            student.linear_backward,
            (dy, *arrays[:2]),
            expected,
            stage="edges" if shape == (3,) else "gradient",
            names=("dx", "dweight", "dbias"),
        )


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Run the learner's function as the backward of all linear layers."""

    def backward(self: Any, dy: np.ndarray) -> tuple[np.ndarray, ...]:
        dy = dy.reshape(*self.x.shape[:-1], -1)  # with GELU in the same operation it is rows
        gradients = student.linear_backward(dy, self.x, self.weight)
        return tuple(gradients[: len(self.needs_input_grad)])

    return (Patch("tinybert.ops.linear.Linear.backward", backward),)
