"""Check of attn/scores."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant

_ALL = "query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]) + mask"
EXERCISE = Exercise(
    minutes=5,
    level=1,
    lesson=18,
    hints=(
        "All dot products of the rows of two matrices A and B are one product: A with B "
        "transposed.",
        "Transpose only the last two axes of key; `.T` would reverse all four.",
        "K is the size of the last axis of query. Add the mask after the division.",
    ),
    mutants=(
        Mutant(
            "divided by the root of the hidden size",
            "math.sqrt(query.shape[-1])",
            "math.sqrt(query.shape[1] * query.shape[-1])",
            "values",
            "a dot product has K terms, the size of one head, not of all heads together.",
        ),
        Mutant(
            "no root",
            "math.sqrt(query.shape[-1])",
            "query.shape[-1]",
            "values",
            "the variance is K, so the standard deviation is sqrt(K): divide by the root.",
        ),
        Mutant(
            "not divided",
            " / math.sqrt(query.shape[-1])",
            "",
            "values",
            "divide by sqrt(K).",
        ),
        Mutant(
            "multiplied by the root",
            " / math.sqrt(query.shape[-1])",
            " * math.sqrt(query.shape[-1])",
            "values",
            "the root makes the scores smaller: divide.",
        ),
        Mutant(
            "root of the number of heads",
            "math.sqrt(query.shape[-1])",
            "math.sqrt(query.shape[1])",
            "values",
            "the scale depends on K, the last axis, not on the number of heads.",
        ),
        Mutant(
            "root of the number of queries",
            "math.sqrt(query.shape[-1])",
            "math.sqrt(query.shape[-2])",
            "values",
            "the scale depends on K, the last axis, not on the number of tokens.",
        ),
        Mutant(
            "mask divided too",
            _ALL,
            "(query @ key.swapaxes(-1, -2) + mask) / math.sqrt(query.shape[-1])",
            "values",
            "add the mask after the division.",
        ),
        Mutant(
            "mask multiplied",
            "(query.shape[-1]) + mask",
            "(query.shape[-1]) * mask",
            "values",
            "the mask is added to the scores; a score times 0 would be 0, not hidden.",
        ),
        Mutant(
            "queries and keys swapped",
            _ALL,
            "(query @ key.swapaxes(-1, -2)).swapaxes(-1, -2) / math.sqrt(query.shape[-1]) + "
            "mask.swapaxes(-1, -2)",
            "shape",
            "the rows are queries, the columns keys.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with a sum over the features, for sizes that all differ."""
    rng = np.random.default_rng(0)
    for batch, heads, queries, keys, size in ((2, 3, 4, 7, 5), (1, 2, 1, 6, 8)):
        query = rng.normal(size=(batch, heads, queries, size))
        key = rng.normal(size=(batch, heads, keys, size))
        for shape in ((batch, 1, queries, keys), (batch, 1, 1, keys)):
            mask = rng.normal(size=shape)
            products = np.einsum("bhik,bhjk->bhij", query, key)
            yield Case(student.scores, (query, key, mask), products * size**-0.5 + mask)
