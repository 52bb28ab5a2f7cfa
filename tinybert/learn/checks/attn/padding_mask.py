"""Check of attn/padding_mask."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch

EXERCISE = Exercise(
    minutes=8,
    level=2,
    lesson=20,
    hints=(
        "np.where chooses between two values for each element; (1 - mask) * lowest works as well.",
        "NumPy widens easily to float64: convert the result to dtype at the end.",
        "Indexing with None adds an axis of length 1. The axis T of mask is about keys, so it "
        "stays the last one.",
    ),
    forbidden={"to_scores": "write it here; this is what you are building"},
    mutants=(
        Mutant(
            "on the axis of the queries",
            "[:, None, None, :]",
            "[:, None, :, None]",
            "shape",
            "that adds the same number to a whole row of scores, and softmax does not change: "
            "padding is hidden as a key, on the last axis.",
        ),
        Mutant(
            "axes missing",
            "[:, None, None, :]",
            "",
            "shape",
            "(B, T) would line up with queries and keys; add the axes of heads and queries.",
        ),
        Mutant(
            "factors",
            "np.where(mask == 1, 0, np.finfo(dtype).min)",
            "mask",
            "values",
            "these are factors for the weights. After softmax it is too late to hide a key: the "
            "weights of a row would no longer add up to 1. Return numbers to add to the scores.",
        ),
        Mutant(
            "inverted",
            "np.where(mask == 1, 0, np.finfo(dtype).min)",
            "np.where(mask == 1, np.finfo(dtype).min, 0)",
            "values",
            "1 is a token: it gets 0, and the padding gets lowest.",
        ),
        Mutant(
            "-10000",
            "0, np.finfo(dtype).min)",
            "0, -1e4)",
            "values",
            "-10000 is the constant of the original BERT. If scores are large it does not hide a "
            "key; use np.finfo(dtype).min.",
        ),
        Mutant(
            "minus infinity",
            "0, np.finfo(dtype).min)",
            "0, -np.inf)",
            "values",
            "a row of which every key is hidden would become not a number; use the lowest finite "
            "number.",
        ),
        Mutant(
            "smallest positive number",
            "0, np.finfo(dtype).min)",
            "0, np.finfo(dtype).tiny)",
            "values",
            "tiny is close to 0; min is the most negative number.",
        ),
        Mutant(
            "dtype not kept",
            ".astype(dtype)",
            ".astype(np.float64)",
            "dtype",
            "return an array of the dtype that was asked for.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with a loop; all numbers have to be exact."""
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    yield _case(student, mask, np.float64)
    yield _case(student, mask, np.float32)
    yield _case(student, mask.astype(np.float32)[1:], np.float32)
    yield _case(student, np.ones((3, 4), int), np.float32)
    yield _case(student, np.zeros((1, 3), int), np.float32, "edges")
    yield _case(student, mask, np.float16, "edges")


def _case(student: ModuleType, mask: np.ndarray, dtype: Any, stage: str = "values") -> Case:
    right = np.zeros((len(mask), 1, 1, mask.shape[1]), dtype)
    for row, column in np.argwhere(mask == 0):
        right[row, 0, 0, column] = np.finfo(dtype).min
    return Case(student.padding_mask, (mask, dtype), right, stage=stage, tolerance=0)


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Make the model's mask with the learner's function."""

    def to_scores(allowed: Any) -> Tensor:
        return Tensor(student.padding_mask(allowed[:, 0, 0], allowed.dtype))

    return (Patch("tinybert.models.call.to_scores", to_scores),)
