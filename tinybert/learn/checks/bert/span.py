"""Check of bert/span."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=15,
    level=3,
    lesson=25,
    hints=(
        "start_log_p as a column plus end_log_p as a row is a table of all pairs: the start "
        "selects its row, the end its column.",
        "Do the same with the positions: column and row give the length of every pair. A length "
        "below 1 is a pair whose end is before its start.",
        "argmax of a table returns the position in the flat array; divmod by the number of columns "
        "gives row and column.",
    ),
    mutants=(
        Mutant(
            "both ends chosen apart",
            "pairs.argmax()), len(allowed))",
            "np.where(allowed, start_log_p, -np.inf).argmax()) * len(allowed)\n"
            "        + int(np.where(allowed, end_log_p, -np.inf).argmax()), len(allowed))",
            "values",
            "the best start and the best end need not fit together: compare pairs.",
        ),
        Mutant(
            "end before start",
            "(length >= 1) & (length <= longest)",
            "(abs(length - 1) < longest)",
            "values",
            "a span cannot end before it starts.",
        ),
        Mutant(
            "no limit of the length",
            "(length >= 1) & (length <= longest)",
            "(length >= 1)",
            "values",
            "an answer has at most `longest` tokens.",
        ),
        Mutant(
            "one token too long",
            "position - position[:, None] + 1",
            "position - position[:, None]",
            "values",
            "a span has end - start + 1 tokens: it may be a single one.",
        ),
        Mutant(
            "question allowed",
            " & allowed[:, None] & allowed",
            "",
            "values",
            "the answer is in the text, not in the question: heed `allowed`.",
        ),
        Mutant(
            "only the start checked",
            " & allowed[:, None] & allowed",
            " & allowed[:, None]",
            "values",
            "the end has to be in the text as well.",
        ),
        Mutant(
            "probabilities added",
            "start_log_p[:, None] + end_log_p",
            "np.exp(start_log_p)[:, None] + np.exp(end_log_p)",
            "values",
            "the probability of a pair is a product, so its logarithms are added, not its "
            "probabilities.",
        ),
        Mutant(
            "row and column swapped",
            "return start, end",
            "return end, start",
            "values",
            "return the start first.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with all pairs, one by one."""
    # In the first case every mutant finds another answer.
    for seed, length, longest in ((3412, 18, 4), (1, 14, 4), (2, 7, 2), (3, 20, 5), (4, 16, 30)):
        rng = np.random.default_rng(seed)
        start, end = rng.normal(scale=2, size=(2, length))
        start, end = (x - np.log(np.exp(x).sum()) for x in (start, end))
        position = np.arange(length)
        allowed = (position >= length // 3) & (position < length - 1)
        yield case(student, start, end, allowed, longest)
    apart = np.log([0.05, 0.05, 0.1, 0.8]), np.log([0.1, 0.5, 0.2, 0.2])
    yield case(student, *apart, np.ones(4, bool), 4)
    only = np.arange(4) == 2
    yield case(student, *apart, only, 3, stage="edges")
    yield case(student, *apart, np.ones(4, bool), 1, stage="edges")


def case(
    student: ModuleType,
    start: np.ndarray,
    end: np.ndarray,
    allowed: np.ndarray,
    longest: int,
    stage: str = "values",
) -> Case:
    """Return the case with the best pair as expected result."""
    tokens = np.flatnonzero(allowed).tolist()
    pairs = [(i, j) for i in tokens for j in tokens if i <= j < i + longest]
    best = max(pairs, key=lambda pair: start[pair[0]] + end[pair[1]])
    arguments = (start, end, allowed, longest)
    return Case(student.best_span, arguments, best, stage=stage, names=("start", "end"))
