"""Check of write/top_p."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=20,
    level=3,
    lesson=7,
    hints=(
        "argsort of -p gives the ranking, most likely word first; kind='stable' keeps equal words "
        "in their order. take_along_axis applies it to every row.",
        "cumsum includes the word itself. Subtract it, and you have the sum of the words before "
        "it: below the limit the word is needed.",
        "Write zeros, then put_along_axis with the same order brings the kept ones back to their "
        "places.",
    ),
    mutants=(
        Mutant(
            "one word too many",
            "before < limit",
            "before <= limit",
            "edges",
            "where the words before it reach the limit exactly, a word is not needed any more.",
        ),
        Mutant(
            "one word too few",
            "ranked.cumsum(axis=-1) - ranked",
            "ranked.cumsum(axis=-1)",
            "values",
            "the word that crosses the limit is kept too: compare the sum of the words before it.",
        ),
        Mutant(
            "least likely first",
            "np.argsort(-p,",
            "np.argsort(p,",
            "values",
            "the nucleus has the most likely words: sort in descending order.",
        ),
        Mutant(
            "not divided by the sum",
            "kept / kept.sum(axis=-1, keepdims=True)",
            "kept",
            "values",
            "the kept probabilities add up to less than 1: divide by their sum.",
        ),
        Mutant(
            "softmax of probabilities",
            "kept / kept.sum(axis=-1, keepdims=True)",
            "np.exp(kept) / np.exp(kept).sum(axis=-1, keepdims=True)",
            "values",
            "exp(0) is 1, so softmax would bring the removed words back: divide by the sum.",
        ),
        Mutant(
            "order of the ranking",
            "np.put_along_axis(kept, order, np.where(before < limit, ranked, 0), -1)",
            "kept = np.where(before < limit, ranked, 0)",
            "values",
            "these are the right numbers at the wrong words: put them back by the ranking.",
        ),
        Mutant(
            "every word above 1 - limit",
            "before < limit",
            "ranked > 1 - limit",
            "values",
            "this is a threshold for single words; the nucleus is about their sum.",
        ),
        Mutant(
            "equal words in reverse",
            'np.argsort(-p, axis=-1, kind="stable")',
            'np.argsort(p, axis=-1, kind="stable")[..., ::-1]',
            "edges",
            "of two equally likely words the first is ranked first: sort -p with kind='stable'.",
        ),
        Mutant(
            "p overwritten",
            "np.zeros_like(p)",
            "p",
            "unchanged",
            "kept is p itself, so this writes to the caller's array: begin with new zeros.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the definition, one word after the other."""
    for seed, shape in enumerate(((3, 7), (2, 2, 9), (20,))):
        p = np.random.default_rng(seed).exponential(size=shape)
        for limit in (0.7, 0.35, 0.95):
            yield case(student, p / p.sum(axis=-1, keepdims=True), limit)
    yield case(student, np.array([0.1, 0.5, 0.3, 0.1]), 0.6)
    exact = np.array([[0.125, 0.5, 0.125, 0.25], [0.25, 0.25, 0.25, 0.25]])
    for limit in (0.5, 0.75, 1.0):
        yield case(student, exact, limit, stage="edges")
    yield case(student, np.array([0.0, 1.0, 0.0]), 0.1, stage="edges")


def case(student: ModuleType, p: np.ndarray, limit: float, stage: str = "values") -> Case:
    """Return the case with the nucleus of every row."""
    expected = np.zeros_like(p)
    for mine, row in zip(
        expected.reshape(-1, p.shape[-1]), p.reshape(-1, p.shape[-1]), strict=True
    ):
        total = 0.0
        for word in sorted(range(len(row)), key=lambda i: (-row[i], i)):
            if total >= limit:
                break
            mine[word] = row[word]
            total += row[word]
        mine /= total
    return Case(student.top_p, (p, limit), expected, stage=stage)
