"""Check of attn/blocks."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert import functional as F
from tinybert.autograd import as_tensor
from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=25,
    level=4,
    lesson=22,
    hints=(
        "Each query has its own top: take the maximum over the keys of the block with "
        "keepdims=True, then np.maximum with the top so far.",
        "The factor exp(old top - new top) is 1 if the top stays and less than 1 if it grows. Both "
        "sums need it, before the block is added.",
        "In the first block the factor is exp(-infinity) = 0, which is right: nothing has been "
        "summed yet. Store the new top at the very end.",
    ),
    forbidden={
        "softmax": "write the sums yourself; softmax needs all scores at once",
        "scaled_dot_product_attention": "write it here; this is what it does inside",
    },
    mutants=(
        Mutant(
            "earlier sums not corrected",
            "shrink = np.exp(top - higher)",
            "shrink = np.exp(0 * scores.max(axis=-1, keepdims=True))",
            "values",
            "when the top grows, both sums so far are too large by exp(new top - old top).",
        ),
        Mutant(
            "only the total corrected",
            "gathered * shrink",
            "gathered",
            "values",
            "numerator and denominator must be relative to the same top: correct `gathered` as "
            "well.",
        ),
        Mutant(
            "only the numerator corrected",
            "total * shrink",
            "total",
            "values",
            "numerator and denominator must be relative to the same top: correct `total` as well.",
        ),
        Mutant(
            "correction upside down",
            "np.exp(top - higher)",
            "np.exp(higher - top)",
            "values",
            "the new top is larger, so the earlier sums have to shrink: exp(old - new).",
        ),
        Mutant(
            "new top not stored",
            "        top = higher\n",
            "",
            "values",
            "without it the top stays -infinity, and every block deletes the sums before it.",
        ),
        Mutant(
            "divided in every block",
            "gathered = gathered * shrink + e @ some_values",
            "gathered = (gathered * shrink + e @ some_values) / total",
            "values",
            "divide once, after the last block: `gathered` is a sum, not yet a mean.",
        ),
        Mutant(
            "top of the first block kept",
            "np.maximum(top, scores.max(axis=-1, keepdims=True))",
            "np.where(start, top, scores.max(axis=-1, keepdims=True))",
            "edges",
            "right as long as nothing overflows; a later score that is far above the first top "
            "makes exp infinite.",
        ),
        Mutant(
            "one top for all queries",
            "scores.max(axis=-1, keepdims=True)",
            "scores.max()",
            "edges",
            "a query whose scores are far below the top of another one gets 0 / 0; take the "
            "maximum of each row.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's operation, for blocks of all sizes."""
    rng = np.random.default_rng(0)
    query = rng.normal(size=(2, 3, 4, 6))
    key, value = rng.normal(size=(2, 3, 7, 6)), rng.normal(size=(2, 3, 7, 5))
    for block in (3, 1, 2, 7, 100):
        arguments = (2 * query, key, value, block)
        yield Case(student.attention_in_blocks, arguments, engine(*arguments[:3]))
    matrices = (query[0, 0], key[0, 0], value[0, 0])
    yield Case(student.attention_in_blocks, (*matrices, 2), engine(*matrices))
    rising = np.arange(1.0, 7.0)[:, None] * np.ones(4)  # the scores of query 0 grow to 2,400
    several = np.array([200.0, 1.0, -200.0])[:, None] * np.ones(4)
    extreme = (several, rising, rng.normal(size=(6, 2)))
    for block in (1, 2, 6):
        expected = engine(*extreme)
        yield Case(student.attention_in_blocks, (*extreme, block), expected, stage="edges")


def engine(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return the context by the engine's operation."""
    q, k, v = map(as_tensor, (query, key, value))
    return F.scaled_dot_product_attention(q, k, v).numpy()
