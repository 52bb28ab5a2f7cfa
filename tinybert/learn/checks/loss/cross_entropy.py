"""Check of loss/cross_entropy."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert import functional as F
from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=10,
    level=2,
    lesson=26,
    hints=(
        "labels != -100 tells for each row whether it counts.",
        "An array indexed with two arrays, [rows, columns], gives one number for each pair: the "
        "row's number and its label.",
        "Add the numbers, divide by how many rows count, and change the sign. np.mean of nothing "
        "is nan as well, with a warning.",
    ),
    forbidden={"cross_entropy": "write it here; a ready cross-entropy is what you are building"},
    mutants=(
        Mutant(
            "divided by all rows",
            "-log_p.sum() / len(rows)",
            "-log_p.sum() / len(labels)",
            "values",
            "ignored rows do not count in the mean either: divide by the number of the others.",
        ),
        Mutant(
            "-100 as a class",
            "np.flatnonzero(labels != -100)",
            "np.arange(len(labels))",
            "values",
            "-100 was used as an index, which NumPy counts from the end: leave these rows out.",
        ),
        Mutant(
            "ignored rows count as class 0",
            "[rows, labels[rows]]",
            "[np.arange(len(labels)), np.where(labels == -100, 0, labels)]",
            "values",
            "a row with the label -100 has no class: leave it out.",
        ),
        Mutant(
            "every label for every row",
            "-log_p.sum() / len(rows)",
            "-log_softmax(scores)[rows][:, labels[rows]].sum() / len(rows) ** 2",
            "values",
            "[:, labels] takes all labels in each row; each row has one label of its own.",
        ),
        Mutant(
            "sum instead of mean",
            " / len(rows)",
            "",
            "values",
            "the loss is a mean: divide by the number of rows that count.",
        ),
        Mutant(
            "sign",
            "-log_p.sum()",
            "log_p.sum()",
            "values",
            "log p is negative; the loss is -log p.",
        ),
        Mutant(
            "base 2",
            "-log_p.sum()",
            "-log_p.sum() / np.log(2)",
            "values",
            "the logarithm is the natural one.",
        ),
        Mutant(
            "softmax over the rows",
            "log_softmax(scores)[",
            "log_softmax(scores.T).T[",
            "values",
            "the probabilities of the classes of one row add up to 1: the axis is the last one.",
        ),
        Mutant(
            "probability instead of its logarithm",
            "log_softmax(scores)[",
            "np.exp(log_softmax(scores))[",
            "values",
            "the loss is -log p, which grows without limit as p goes to 0.",
        ),
        Mutant(
            "0 if no row counts",
            "else np.nan",
            "else 0.0",
            "edges",
            "the mean of nothing is nan; 0 would look like a perfect loss.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's loss."""
    rng = np.random.default_rng(0)

    def case(scores: np.ndarray, labels: list[int], stage: str = "values") -> Case:
        ids = np.array(labels)
        expected = F.cross_entropy(scores, ids).item()
        return Case(student.cross_entropy, (scores, ids), expected, stage=stage)

    yield case(rng.normal(size=(4, 3)), [2, 0, 1, 1])
    yield case(rng.normal(size=(5, 130)), [-100, 2, 129, -100, 0])
    yield case(rng.normal(size=(3, 7)), [-100, 6, -100])
    yield case(np.array([[1000.0, 0.0], [0.0, 1000.0]]), [1, 1], "edges")
    yield case(rng.normal(size=(2, 3)), [-100, -100], "edges")
