"""Check of attn/causal."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=15,
    level=3,
    lesson=20,
    hints=(
        "Query i is the token with the number past + i, where past is the number of keys minus "
        "the number of queries. Key j is later if j is larger than that.",
        "np.triu(array, k) keeps what is on and above a diagonal. The diagonal k=0 starts in the "
        "upper left corner; a larger k moves it to the right.",
        "np.where(later, lowest, padding) needs no sum, and it broadcasts padding to all queries.",
    ),
    forbidden={"causal_mask": "write it here; this is what you are building"},
    mutants=(
        Mutant(
            "the other triangle",
            "np.triu(np.ones((queries, keys), bool), k=past + 1)",
            "np.tril(np.ones((queries, keys), bool), k=past - 1)",
            "values",
            "the earlier keys are hidden, and the later ones can be seen: use the triangle above.",
        ),
        Mutant(
            "own token hidden",
            "k=past + 1",
            "k=past",
            "values",
            "a token may attend to itself: the diagonal stays open.",
        ),
        Mutant(
            "next token seen",
            "k=past + 1",
            "k=past + 2",
            "values",
            "the first key after the query's own is hidden already: it is what has to be "
            "predicted.",
        ),
        Mutant(
            "past ignored",
            "k=past + 1",
            "k=1",
            "values",
            "the queries are the last tokens: move the diagonal to the right by the number of "
            "keys from the past.",
        ),
        Mutant(
            "padding lost",
            "np.finfo(padding.dtype).min, padding)",
            "np.finfo(padding.dtype).min, 0 * padding)",
            "values",
            "what padding hides has to stay hidden.",
        ),
        Mutant(
            "both masks added",
            "np.where(later, np.finfo(padding.dtype).min, padding)",
            "np.where(later, np.finfo(padding.dtype).min, 0 * padding) + padding",
            "values",
            "lowest + lowest is -infinity; choose one of the two values.",
        ),
        Mutant(
            "True and False",
            "np.where(later, np.finfo(padding.dtype).min, padding)",
            "later | (padding < 0)",
            "dtype",
            "return numbers that are added to the scores: lowest where it is True.",
        ),
        Mutant(
            "lowest of float64",
            "np.finfo(padding.dtype).min",
            "np.finfo(np.float64).min",
            "dtype",
            "lowest depends on the dtype: ask np.finfo for that of padding.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with a loop over queries and keys; all numbers have to be exact."""
    for real, queries in (([4], 4), ([5], 3), ([6, 4, 3], 4)):
        yield _case(student, real, queries, np.float64)
    yield _case(student, [4, 2], 3, np.float32)
    yield _case(student, [5, 3], 1, np.float64, "edges")
    yield _case(student, [1], 1, np.float64, "edges")


def _case(
    student: ModuleType, real: list[int], queries: int, dtype: Any, stage: str = "values"
) -> Case:
    """Make a batch with as many real tokens in each row as `real` says, and padding after them."""
    keys, lowest = max(real), np.finfo(dtype).min
    padding, right = (
        np.zeros((len(real), 1, 1, keys), dtype),
        np.zeros((len(real), 1, queries, keys), dtype),
    )
    for row, length in enumerate(real):
        padding[row, 0, 0, length:] = lowest
        for query in range(queries):
            for key in range(keys):
                if key >= length or key > keys - queries + query:
                    right[row, 0, query, key] = lowest
    return Case(student.causal_mask, (padding, queries), right, stage=stage, tolerance=0)
