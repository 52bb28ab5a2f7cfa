"""Check of write/top_p."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.layers import softmax
from tinybert.learn.patches import Patch
from tinybert.learn.small_models import generation_case

EXERCISE = Exercise(
    minutes=20,
    level=3,
    lesson=34,
    hints=(
        "argsort of -p gives the ranking, most likely token first; kind='stable' keeps equal "
        "tokens in their order. take_along_axis applies it to every row.",
        "cumsum includes the token itself. Subtract it, and you have the sum of the tokens before "
        "it: below the limit the token is needed.",
        "Write zeros, then put_along_axis with the same order brings the kept ones back to their "
        "places.",
    ),
    forbidden={"TopPLogitsWarper": "write it here; it is what you are building"},
    mutants=(
        Mutant(
            "one token too many",
            "before < limit",
            "before <= limit",
            "edges",
            "where the tokens before it reach the limit exactly, a token is not needed any more.",
        ),
        Mutant(
            "one token too few",
            "ranked.cumsum(axis=-1) - ranked",
            "ranked.cumsum(axis=-1)",
            "values",
            "the token that crosses the limit is kept too: compare the sum before it.",
        ),
        Mutant(
            "least likely first",
            "np.argsort(-p,",
            "np.argsort(p,",
            "values",
            "the nucleus has the most likely tokens: sort in descending order.",
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
            "exp(0) is 1, so softmax would bring the removed tokens back: divide by the sum.",
        ),
        Mutant(
            "order of the ranking",
            "np.put_along_axis(kept, order, np.where(before < limit, ranked, 0), -1)",
            "kept = np.where(before < limit, ranked, 0)",
            "values",
            "these are the right numbers at the wrong tokens: put them back by the ranking.",
        ),
        Mutant(
            "every token above 1 - limit",
            "before < limit",
            "ranked > 1 - limit",
            "values",
            "this is a threshold for single tokens; the nucleus is about their sum.",
        ),
        Mutant(
            "equal tokens in reverse",
            'np.argsort(-p, axis=-1, kind="stable")',
            'np.argsort(p, axis=-1, kind="stable")[..., ::-1]',
            "edges",
            "of two equally likely tokens the first is ranked first: sort -p with kind='stable'.",
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
    """Compare with the definition, one token after the other."""
    for seed, shape in enumerate(((3, 7), (2, 2, 9), (20,))):
        p = np.random.default_rng(seed).exponential(size=shape)
        for limit in (0.7, 0.35, 0.95):
            yield case(student, p / p.sum(axis=-1, keepdims=True), limit)
    yield case(student, np.array([0.1, 0.5, 0.3, 0.1]), 0.6)
    exact = np.array([[0.125, 0.5, 0.125, 0.25], [0.25, 0.25, 0.25, 0.25]])
    for limit in (0.5, 0.75, 1.0):
        yield case(student, exact, limit, stage="edges")
    yield case(student, np.array([0.0, 1.0, 0.0]), 0.1, stage="edges")
    yield in_a_model(student)


def case(student: ModuleType, p: np.ndarray, limit: float, stage: str = "values") -> Case:
    """Return the case with the nucleus of every row."""
    expected = np.zeros_like(p)
    for mine, row in zip(
        expected.reshape(-1, p.shape[-1]), p.reshape(-1, p.shape[-1]), strict=True
    ):
        total = 0.0
        for token in sorted(range(len(row)), key=lambda i: (-row[i], i)):
            if total >= limit:
                break
            mine[token] = row[token]
            total += row[token]
        mine /= total
    return Case(student.top_p, (p, limit), expected, stage=stage)


def in_a_model(student: ModuleType) -> Case:
    """Return the case of a small model that samples from the learner's nucleus."""

    def warp(self: Any, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        kept = student.top_p(softmax(scores), self.top_p)
        return np.where(kept > 0, scores, -np.inf)

    name = "tinybert.generation.logits_warpers.TopPLogitsWarper.__call__"
    what = "a small model that samples from your nucleus"
    return generation_case(what, Patch(name, warp), do_sample=True, top_k=0, top_p=0.8, seed=0)
