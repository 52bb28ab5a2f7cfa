"""Check of bert/mask_words."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=12,
    level=2,
    lesson=32,
    hints=(
        "Comparisons of arrays give arrays of True and False; & combines them (with parentheses "
        "around each comparison).",
        "np.where(condition, a, b) takes a where the condition is True and b elsewhere, and makes "
        "a new array. The labels need one, the new ids two.",
        "The two conditions for the new ids both begin with `chosen &`. Take the labels from the "
        "ids as they were given.",
    ),
    forbidden={
        "mask_tokens": "write it here; it is what you are building",
        "choose_tokens": "write it here; it is part of what you are building",
    },
    mutants=(
        Mutant(
            "labels everywhere",
            "labels = np.where(chosen, ids, -100)",
            "labels = ids.copy()",
            "values",
            "only chosen tokens count in the loss; all other labels are -100. Otherwise the model "
            "is mostly asked to copy what it can see.",
        ),
        Mutant(
            "ignored labels 0",
            "np.where(chosen, ids, -100)",
            "np.where(chosen, ids, 0)",
            "values",
            "0 is the id of a token, so the model would learn to predict it; -100 is ignored.",
        ),
        Mutant(
            "labels after masking",
            "return inputs, labels",
            "return inputs, np.where(chosen, inputs, -100)",
            "values",
            "the label is the original id, not the id that replaced it.",
        ),
        Mutant(
            "special tokens chosen",
            "maskable & (choice < 0.15)",
            "choice < 0.15",
            "values",
            "[CLS], [SEP] and padding are never hidden: heed `maskable`.",
        ),
        Mutant(
            "all chosen become [MASK]",
            "chosen & (kind < 0.8)",
            "chosen",
            "values",
            "one in ten chosen tokens stays as it is.",
        ),
        Mutant(
            "no random tokens",
            "anything, inputs)",
            "ids, inputs)",
            "values",
            "one in ten chosen tokens becomes a random token, from `anything`.",
        ),
        Mutant(
            "twice as many random tokens",
            "(kind >= 0.8) & (kind < 0.9)",
            "(kind >= 0.8)",
            "values",
            "from 0.9 on a chosen token stays as it is.",
        ),
        Mutant(
            "chosen forgotten",
            "chosen & (kind >= 0.8) & (kind < 0.9)",
            "(kind >= 0.8) & (kind < 0.9)",
            "values",
            "only chosen tokens are replaced; all others stay.",
        ),
        Mutant(
            "changes the caller's ids",
            "inputs = np.where(chosen & (kind < 0.8), mask_id, ids)",
            "ids[chosen & (kind < 0.8)] = mask_id\n    inputs = ids",
            "unchanged",
            "writing to ids changes the caller's array: the next epoch would begin with masks.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the rule, one token at a time."""
    for seed, (batch, length) in enumerate(((5, 40), (3, 70))):
        rng = np.random.default_rng(seed)
        ids = rng.integers(10, 60, (batch, length))
        maskable = np.ones(ids.shape, bool)
        ids[:, 0], ids[:, length - 5 :], ids[0, length - 9 :] = 2, 3, 3
        maskable[ids < 10] = False
        yield case(student, ids, maskable, seed)
    nothing = np.zeros((1, 30), bool)
    yield case(student, ids[:1, :30], nothing, 3, stage="edges")


def case(
    student: ModuleType, ids: np.ndarray, maskable: np.ndarray, seed: int, stage: str = "values"
) -> Case:
    """Return the case whose draws come from a generator with this seed."""
    rng = np.random.default_rng(seed)
    choice, kind = rng.random((2, *ids.shape))
    anything = rng.integers(0, 60, ids.shape)
    inputs, labels = ids.copy(), np.full_like(ids, -100)
    for at in np.ndindex(ids.shape):
        if maskable[at] and choice[at] < 0.15:
            labels[at] = ids[at]
            if kind[at] < 0.9:
                inputs[at] = 4 if kind[at] < 0.8 else anything[at]
    return Case(
        student.mask_words,
        (ids, maskable, 4, 60, np.random.default_rng(seed)),
        (inputs, labels),
        stage=stage,
        names=("inputs", "labels"),
    )
