"""Check of loss/smoothing."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert import functional as F
from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=12,
    level=3,
    lesson=26,
    hints=(
        "labels[:, None] == a row of the numbers 0 to C - 1 is True at the label and False "
        "elsewhere; with a number it counts as 1 and 0.",
        "The loss of a row is a sum over the classes, with a minus; log_softmax gives log p.",
        "In an ignored row no class is the label, but s / C is left everywhere: choose the rows "
        "that count before the mean.",
    ),
    forbidden={"cross_entropy": "the engine's has smoothing built in; write it here with NumPy"},
    mutants=(
        Mutant(
            "s / (C - 1)",
            "s / scores.shape[1]",
            "s / (scores.shape[1] - 1)",
            "values",
            "the label gets its part of s as well: s is divided by all C classes.",
        ),
        Mutant(
            "the other classes share s",
            "(1 - s) * is_label + s / scores.shape[1]",
            "np.where(is_label, 1 - s, s / (scores.shape[1] - 1))",
            "values",
            "another definition: here the label gets s / C on top of 1 - s, as all classes do.",
        ),
        Mutant(
            "the label keeps 1",
            "(1 - s) * is_label",
            "is_label",
            "values",
            "the share s is taken away from the label first: (1 - s).",
        ),
        Mutant(
            "s / C added to the loss",
            "(1 - s) * is_label + s / scores.shape[1]",
            "(1 - s) * is_label",
            "values",
            "every class has a target of s / C, and so a term in the loss.",
        ),
        Mutant(
            "ignored rows in the sum",
            "losses[counts].sum()",
            "losses.sum()",
            "values",
            "the targets s / C of an ignored row count as well: choose the rows before the sum.",
        ),
        Mutant(
            "divided by all rows",
            "counts.sum()",
            "len(labels)",
            "values",
            "ignored rows are not in the mean: divide by the number of the others.",
        ),
        Mutant(
            "mean over the classes",
            "(target * log_softmax(scores)).sum(axis=-1)",
            "(target * log_softmax(scores)).mean(axis=-1)",
            "values",
            "the targets add up to 1 already: a sum over the classes, not a mean.",
        ),
        Mutant(
            "log of a finished softmax",
            "log_softmax(scores)",
            "np.log(np.exp(log_softmax(scores)))",
            "edges",
            "a small probability becomes 0, and log 0 is -inf: use log_softmax as it is.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's loss."""
    rng = np.random.default_rng(0)

    def case(scores: np.ndarray, labels: list[int], s: float, stage: str = "values") -> Case:
        ids = np.array(labels)
        expected = F.cross_entropy(scores, ids, label_smoothing=s).item()
        return Case(student.smoothed_cross_entropy, (scores, ids, s), expected, stage=stage)

    yield case(rng.normal(size=(4, 3)), [2, 0, 1, 1], 0.1)
    yield case(rng.normal(size=(5, 7)), [-100, 2, 6, -100, 0], 0.3)
    yield case(rng.normal(size=(3, 4)), [1, -100, 2], 0.0)
    yield case(np.array([[1000.0, 0.0, -500.0], [0.0, 1000.0, 0.0]]), [0, 2], 0.2, "edges")
    yield case(rng.normal(size=(2, 3)), [0, 1], 1.0, "edges")
