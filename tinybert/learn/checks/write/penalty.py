"""Check of write/penalty."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch, patched
from tinybert.learn.small_models import random_model
from tinybert.models.bert_heads import BertLMHeadModel

EXERCISE = Exercise(
    minutes=12,
    level=2,
    lesson=7,
    hints=(
        "Begin with an array of False in the shape of the scores, and set it to True where a word "
        "has been seen.",
        "np.put_along_axis(array, ids, value, axis=1) writes to the columns `ids` of each row, all "
        "rows at once.",
        "Division makes positive scores worse and multiplication negative ones: np.where chooses, "
        "and a second np.where leaves unseen words alone.",
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
            "-2 divided by 1.5 is -1.33, which is better: multiply negative scores.",
        ),
        Mutant(
            "multiplied and divided the wrong way",
            "scores < 0",
            "scores >= 0",
            "values",
            "this makes repeated words more likely: divide positive scores, multiply negative "
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
            "punished for each occurrence",
            "worse = np.where(scores < 0, scores * penalty, scores / penalty)",
            "times = np.stack([np.bincount(row, minlength=scores.shape[1]) for row in ids])\n"
            "    worse = np.where(scores < 0, scores * penalty**times, scores / penalty**times)",
            "values",
            "a word is punished once, however often it has occurred.",
        ),
        Mutant(
            "all words punished",
            "return np.where(seen, worse, scores)",
            "return worse",
            "values",
            "only words that have occurred are punished.",
        ),
        Mutant(
            "unseen words punished",
            "np.where(seen, worse, scores)",
            "np.where(seen, scores, worse)",
            "values",
            "np.where takes the first array where the condition is True: the seen words get the "
            "worse score.",
        ),
        Mutant(
            "seen in any row",
            "np.put_along_axis(seen, ids, True, axis=1)",
            "seen[:, ids.ravel()] = True",
            "values",
            "each row of the batch is a text of its own.",
        ),
        Mutant(
            "the last word only",
            "np.put_along_axis(seen, ids, True, axis=1)",
            "np.put_along_axis(seen, ids[:, -1:], True, axis=1)",
            "values",
            "all words of the text so far are punished, not only the last one.",
        ),
        Mutant(
            "scores overwritten",
            "return np.where(seen, worse, scores)",
            "scores[seen] = worse[seen]\n    return scores",
            "unchanged",
            "writing to scores changes the caller's array; np.where makes a new one.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the rule, one word at a time."""
    for seed, (batch, length, vocab) in enumerate(((2, 6, 9), (1, 4, 7), (4, 3, 5))):
        rng = np.random.default_rng(seed)
        ids = rng.integers(0, vocab - 2, (batch, length))
        ids[0, :2] = 3, 3
        yield case(student, 3 * rng.normal(size=(batch, vocab)), ids, 1.5)
    unusual = np.array([[0.0, -np.inf, 2.0, -4.0, np.inf]])
    for ids in ([[0, 1, 4]], [[2, 2, 3]]):
        yield case(student, unusual, np.array(ids), 2.0, stage="edges")
    yield case(student, unusual, np.zeros((1, 0), int), 2.0, stage="edges")
    yield in_a_model(student)


def case(
    student: ModuleType, scores: np.ndarray, ids: np.ndarray, penalty: float, stage: str = "values"
) -> Case:
    """Return the case with the scores of seen words made worse."""
    expected = scores.copy()
    for row, words in zip(expected, ids.tolist(), strict=True):
        for word in set(words):
            row[word] = row[word] * penalty if row[word] < 0 else row[word] / penalty
    return Case(student.punish_repetition, (scores, ids, penalty), expected, stage=stage)


def in_a_model(student: ModuleType) -> Case:
    """Return the case of a small model that generates with the learner's penalty."""
    model = random_model(
        BertLMHeadModel, 0, vocab_size=13, hidden_size=6, num_attention_heads=2,
        intermediate_size=5, is_decoder=True,
    )  # fmt: skip
    prompt = np.array([[2, 5, 7], [3, 3, 8]])

    def penalise(self: Any, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        return student.punish_repetition(scores, ids, self.penalty)

    def generate() -> Any:
        return model.generate(prompt, max_length=12, repetition_penalty=1.5).tolist()

    def generate_with_yours() -> Any:
        name = "tinybert.generation.logits_processors.RepetitionPenaltyLogitsProcessor.__call__"
        with patched(Patch(name, penalise)):
            return generate()

    return Case(
        generate_with_yours,
        (),
        generate(),
        stage="model",
        what="a small model that generates with your penalty",
    )
