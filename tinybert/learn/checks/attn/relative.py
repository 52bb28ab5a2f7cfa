"""Check of attn/relative."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=20,
    level=3,
    lesson=21,
    hints=(
        "np.arange gives the positions; one of them as a column minus the other as a row gives all "
        "distances at once.",
        "The distance 0 is row P - 1, and the table has 2 P - 1 rows: which row is in its middle?",
        "np.einsum can multiply query (b h l k) with the rows (l r k) and sum over k. Add both "
        "kinds of scores before you divide.",
    ),
    forbidden={"DistanceEmbedding": "write it here; it is what you are building"},
    mutants=(
        Mutant(
            "r - l for l - r",
            "distance = position[keys - queries :, None] - position",
            "distance = position - position[keys - queries :, None]",
            "values",
            "the distance is the query's position minus the key's.",
        ),
        Mutant(
            "no offset into the table",
            "table[distance + len(table) // 2]",
            "table[distance]",
            "values",
            "negative distances take rows from the end of the table; add P - 1 to every distance.",
        ),
        Mutant(
            "positions added after the scale",
            "scores = query @ key.swapaxes(-1, -2) + np",
            "scores = query @ key.swapaxes(-1, -2) + math.sqrt(query.shape[-1]) * np",
            "values",
            "the sum of both terms is divided by sqrt(K), not the first term alone.",
        ),
        Mutant(
            "the key's term",
            '"bhlk,lrk->bhlr", query, rows',
            '"bhrk,lrk->bhlr", key, rows',
            "values",
            "E is multiplied with the query here; the variant with the key is added to it, not in "
            "its place.",
        ),
        Mutant(
            "distances clipped",
            "distance + len(table) // 2",
            "distance.clip(-2, 2) + len(table) // 2",
            "values",
            "every distance has a row of its own; the paper clips them, BERT does not.",
        ),
        Mutant(
            "distance without a sign",
            "distance + len(table) // 2",
            "abs(distance) + len(table) // 2",
            "values",
            "a key before the query and a key after it have different rows.",
        ),
        Mutant(
            "queries counted from 0",
            "position[keys - queries :, None]",
            "position[:queries, None]",
            "edges",
            "with a cache the queries are the last tokens: the first of them has the position "
            "Tk - Tq.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the definition, one pair of tokens at a time."""
    sizes = (
        (2, 3, 5, 5, 4, 5, "values"),
        (1, 2, 4, 4, 3, 9, "values"),
        (2, 1, 2, 6, 5, 7, "edges"),
    )
    for seed, (batch, heads, queries, keys, size, largest, stage) in enumerate(sizes):
        rng = np.random.default_rng(seed)
        query = rng.normal(size=(batch, heads, queries, size))
        key = rng.normal(size=(batch, heads, keys, size))
        table = rng.normal(size=(2 * largest - 1, size))
        expected = np.empty((batch, heads, queries, keys))
        for i in range(queries):
            for r in range(keys):
                distance = keys - queries + i - r
                both = key[:, :, r] + table[largest - 1 + distance]
                expected[:, :, i, r] = (query[:, :, i] * both).sum(axis=-1) / size**0.5
        yield Case(student.relative_scores, (query, key, table), expected, stage=stage)
