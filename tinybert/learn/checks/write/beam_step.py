"""Check of write/beam_step."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=25,
    level=4,
    lesson=36,
    hints=(
        "The scores as a column plus log_p give all K V totals. argsort with axis=None ranks "
        "them as one flat array; sort the negative totals for best first.",
        "Row and column of a flat position i in an array with V columns are i // V and i % V: the "
        "text and the token.",
        "Make one list of the best 2 K candidates, then two lists from it: one without `end`, cut "
        "to K, and one with `end`, from the first K.",
    ),
    mutants=(
        Mutant(
            "two of each text",
            'np.argsort(-total, axis=None, kind="stable")[: 2 * beams]',
            "(np.argsort(-total, axis=1)[:, :2] + vocab * np.arange(beams)[:, None]).ravel()",
            "values",
            "all K V candidates compete: a good text may be extended in several ways, and a bad "
            "one not at all.",
        ),
        Mutant(
            "scores of the texts forgotten",
            "scores[:, None] + log_p",
            "log_p",
            "values",
            "the score of a candidate is that of its text plus log P of the token.",
        ),
        Mutant(
            "mean instead of sum",
            "scores[:, None] + log_p",
            "(scores[:, None] + log_p) / 2",
            "values",
            "scores stay sums while texts run; only finished texts are divided by their length.",
        ),
        Mutant(
            "finished texts extended",
            "[c for c in candidates if c[2] != end]",
            "candidates",
            "values",
            "after `end` a text is finished: it goes to `ended` and must not be extended.",
        ),
        Mutant(
            "text and token mixed up",
            "divmod(int(i), vocab)",
            "divmod(int(i), beams)",
            "values",
            "the totals have V columns: divide the flat position by V.",
        ),
        Mutant(
            "only K candidates",
            "[: 2 * beams]",
            "[:beams]",
            "values",
            "if some of the best K are finished, fewer than K are left to go on: take 2 K.",
        ),
        Mutant(
            "ended from all candidates",
            "candidates[:beams] if",
            "candidates if",
            "values",
            "a text that ends counts only if it is among the best K.",
        ),
        Mutant(
            "worst first",
            "np.argsort(-total",
            "np.argsort(total",
            "values",
            "argsort sorts in ascending order, and the best total is the largest.",
        ),
        Mutant(
            "probabilities for logarithms",
            "scores[:, None] + log_p",
            "scores[:, None] + np.exp(log_p)",
            "values",
            "log_p has logarithms already; add them as they are.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with all candidates as a sorted list."""
    for seed, (beams, vocab) in enumerate(((3, 5), (2, 7), (4, 9), (3, 8))):
        rng = np.random.default_rng(seed)
        log_p = np.log(rng.dirichlet(np.ones(vocab), beams))
        log_p[:, 1] = log_p.max(axis=1) - 0.3  # the end is likely
        yield case(student, rng.normal(size=beams) - 2, log_p, 1)
    first = np.array([0.0, -np.inf, -np.inf])  # the first step: K copies of one text
    yield case(student, first, np.tile(log_p[:1], (3, 1)), 1, stage="edges")
    yield case(student, np.array([-1.0]), log_p[1:2], 1, stage="edges")


def case(
    student: ModuleType, scores: np.ndarray, log_p: np.ndarray, end: int, stage: str = "values"
) -> Case:
    """Return the case with the two lists."""
    candidates = [
        (score + float(log_p[text, token]), text, token)
        for text, score in enumerate(scores.tolist())
        for token in range(log_p.shape[1])
    ]
    beams = len(scores)
    best = sorted(candidates, key=lambda c: (-c[0], c[1], c[2]))[: 2 * beams]
    running = [c for c in best if c[2] != end][:beams]
    ended = [c for c in best[:beams] if c[2] == end]
    return Case(
        student.beam_step,
        (scores, log_p, end),
        (running, ended),
        stage=stage,
        names=("running", "ended"),
    )
