"""Check of bert/pooling."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.small_models import random_model
from tinybert.models.bert import BertModel

EXERCISE = Exercise(
    minutes=8,
    level=1,
    lesson=27,
    hints=(
        "states has three axes and the mask two: mask[:, :, None] broadcasts over the features.",
        "The divisor is the number of ones in each row of the mask, not T.",
        "Convert the mask to the dtype of the states; np.maximum keeps a count of 0 from dividing.",
    ),
    mutants=(
        Mutant(
            "padding in the mean",
            "(states * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)",
            "states.mean(axis=1)",
            "values",
            "the states of padding are not zero: multiply with the mask before the sum.",
        ),
        Mutant(
            "divided by T",
            "np.maximum(weights.sum(axis=1), 1)",
            "states.shape[1]",
            "values",
            "the sum has no padding, but the divisor still counts it: divide by the number of "
            "real tokens.",
        ),
        Mutant(
            "padding in the sum only",
            "(states * weights).sum",
            "states.sum",
            "values",
            "the divisor counts real tokens, but the sum still has the padding.",
        ),
        Mutant(
            "the first token",
            "(states * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)",
            "states[:, 0]",
            "values",
            "this is the vector of [CLS]; the mean uses all real tokens.",
        ),
        Mutant(
            "the largest value",
            "(states * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)",
            "np.where(weights > 0, states, -np.inf).max(axis=1)",
            "values",
            "this is max pooling: it takes the largest value of each feature, not the mean.",
        ),
        Mutant(
            "one mean for the whole batch",
            "weights.sum(axis=1)",
            "weights.sum(axis=1).mean()",
            "values",
            "each row has its own number of tokens.",
        ),
        Mutant(
            "mask left as integers",
            ".astype(states.dtype)",
            "",
            "dtype",
            "float32 times int64 is float64: convert the mask to the dtype of the states.",
        ),
        Mutant(
            "division by zero",
            "np.maximum(weights.sum(axis=1), 1)",
            "weights.sum(axis=1)",
            "edges",
            "a row without tokens is 0 / 0; let the divisor be at least 1.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the mean of the real tokens, row by row, and pool a small model."""
    for seed, mask in enumerate(([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 1]], [[1, 0, 0, 0, 0]])):
        rows = np.array(mask)
        states = np.random.default_rng(seed).normal(size=(*rows.shape, 6 - seed))
        expected = np.stack([x[m == 1].mean(axis=0) for x, m in zip(states, rows, strict=True)])
        yield Case(student.mean_pooling, (states, rows), expected)
    half = states.astype(np.float32)
    yield Case(student.mean_pooling, (half, rows), half[:, 0], tolerance=1e-6)
    nothing = np.zeros((1, 5), int)
    yield Case(student.mean_pooling, (states, nothing), np.zeros((1, 5)), stage="edges")
    yield from in_a_model(student)


def in_a_model(student: ModuleType) -> Iterator[Case]:
    """Yield the case of a small model: a text gets the same vector alone and in a batch."""
    sizes = {"vocab_size": 9, "hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 5}
    model = random_model(BertModel, 0, **sizes)
    ids, mask = np.array([[2, 5, 7, 3], [2, 3, 0, 0]]), np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    alone = [model(input_ids=row[None, m == 1]) for row, m in zip(ids, mask, strict=True)]

    def vectors() -> Any:
        return student.mean_pooling(model(ids, mask).last_hidden_state.numpy(), mask)

    yield Case(
        vectors,
        (),
        np.concatenate([output.last_hidden_state.numpy().mean(axis=1) for output in alone]),
        stage="model",
        what="two texts in one batch of a small model: the vectors that they have alone",
    )
