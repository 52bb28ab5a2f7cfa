"""Check of write/penalty."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch
from tinybert.learn.small_models import generation_case

EXERCISE = Exercise(
    minutes=12,
    level=2,
    lesson=35,
    hints=(
        "Begin with an array of False in the shape of the scores, and set it to True where a token "
        "has been seen.",
        "np.put_along_axis(array, ids, value, axis=1) writes to the columns `ids` of each row, all "
        "rows at once.",
        "Division lowers positive scores and multiplication negative ones: np.where chooses, "
        "and a second np.where leaves unseen tokens alone.",
    ),
    forbidden={
        "RepetitionPenaltyLogitsProcessor": "write it here; it is what you are building",
    },
    mutants=(
        Mutant(
            "negative scores divided",
            "np.where(scores < 0, scores * penalty, scores / penalty)",
            "scores / penalty",
            "values",
            "-2 divided by 1.5 is -1.33, which is higher: multiply negative scores.",
        ),
        Mutant(
            "multiplied and divided the wrong way",
            "scores < 0",
            "scores >= 0",
            "values",
            "this makes repeated tokens more likely: divide positive scores, multiply negative "
            "ones.",
        ),
        Mutant(
            "penalty subtracted",
            "np.where(scores < 0, scores * penalty, scores / penalty)",
            "scores - penalty",
            "values",
            "the rule divides or multiplies; it does not subtract.",
        ),
        Mutant(
            "penalised for each occurrence",
            "lowered = np.where(scores < 0, scores * penalty, scores / penalty)",
            "times = np.stack([np.bincount(row, minlength=scores.shape[1]) for row in ids])\n"
            "    lowered = np.where(scores < 0, scores * penalty**times, scores / penalty**times)",
            "values",
            "a token is penalised once, however often it has occurred.",
        ),
        Mutant(
            "all tokens penalised",
            "return np.where(seen, lowered, scores)",
            "return lowered",
            "values",
            "only tokens that have occurred are penalised.",
        ),
        Mutant(
            "unseen tokens penalised",
            "np.where(seen, lowered, scores)",
            "np.where(seen, scores, lowered)",
            "values",
            "np.where takes the first array where the condition is True: the seen tokens get the "
            "lowered score.",
        ),
        Mutant(
            "seen in any row",
            "np.put_along_axis(seen, ids, True, axis=1)",
            "seen[:, ids.ravel()] = True",
            "values",
            "each row of the batch is a text of its own.",
        ),
        Mutant(
            "the last token only",
            "np.put_along_axis(seen, ids, True, axis=1)",
            "np.put_along_axis(seen, ids[:, -1:], True, axis=1)",
            "values",
            "all tokens of the text so far are penalised, not only the last one.",
        ),
        Mutant(
            "scores overwritten",
            "return np.where(seen, lowered, scores)",
            "scores[seen] = lowered[seen]\n    return scores",
            "unchanged",
            "writing to scores changes the caller's array; np.where makes a new one.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the rule, one token at a time."""
    rng = np.random.default_rng(3)
    once = rng.permuted(np.tile(np.arange(9), (2, 1)), axis=1)[:, :4]  # no token twice
    yield case(student, 3 * rng.normal(size=(2, 9)), once, 1.5)
    for seed, (batch, length, vocab) in enumerate(((2, 6, 9), (1, 4, 7), (4, 3, 5))):
        rng = np.random.default_rng(seed)
        ids = rng.integers(0, vocab - 2, (batch, length))
        ids[0, :2] = 3, 3
        yield case(student, 3 * rng.normal(size=(batch, vocab)), ids, 1.5)
    unusual = np.array([[0.0, -np.inf, 2.0, -4.0, np.inf]])
    for text in ([0, 1, 4], [2, 2, 3], []):
        yield case(student, unusual, np.array([text], int), 2.0, stage="edges")
    yield in_a_model(student)


def case(
    student: ModuleType, scores: np.ndarray, ids: np.ndarray, penalty: float, stage: str = "values"
) -> Case:
    """Return the case with the scores of seen tokens lowered."""
    expected = scores.copy()
    for row, tokens in zip(expected, ids.tolist(), strict=True):
        for token in set(tokens):
            row[token] = row[token] * penalty if row[token] < 0 else row[token] / penalty
    return Case(student.penalise_repetition, (scores, ids, penalty), expected, stage=stage)


def in_a_model(student: ModuleType) -> Case:
    """Return the case of a small model that generates with the learner's penalty."""

    def penalise(self: Any, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        texts = [row[row >= 0] for row in ids]  # -1 is padding
        pairs = zip(scores, texts, strict=True)
        return np.concatenate(
            [student.penalise_repetition(s[None], t[None], self.penalty) for s, t in pairs]
        )

    name = "tinybert.generation.logits_processors.RepetitionPenaltyLogitsProcessor.__call__"
    what = "a small model that generates with your penalty"
    return generation_case(what, Patch(name, penalise), repetition_penalty=1.5)
