"""Check of ranks/ring."""

from collections.abc import Iterator
from types import ModuleType

from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=12,
    level=3,
    lesson=54,
    hints=(
        "Follow one part: it is sent by rank 0, then by rank 1, and so on. So the part that a rank "
        "sends gets one smaller in each step.",
        "What a rank receives is what the rank before it sends in the same step.",
        "Python's % gives a number from 0 up, also of a negative one.",
    ),
    mutants=(
        Mutant(
            "the other way round",
            "(rank - step) % ranks",
            "(rank + step) % ranks",
            "values",
            "a rank sends what it received in the step before, and that came from rank - 1.",
        ),
        Mutant(
            "receives from the next rank",
            "(rank - 1 - step) % ranks",
            "(rank + 1 - step) % ranks",
            "values",
            "the message comes from rank - 1; rank + 1 is the one that you send to.",
        ),
        Mutant(
            "half of the steps",
            "2 * (ranks - 1)",
            "ranks - 1",
            "values",
            "after p - 1 steps each rank has one finished part; the others must still go round.",
        ),
        Mutant(
            "one step too many",
            "range(2 * (ranks - 1))",
            "range(2 * ranks)",
            "values",
            "a part passes p - 1 links until it is finished, and p - 1 more: its own rank has it.",
        ),
        Mutant(
            "adds once too often",
            "step < ranks - 1",
            "step < ranks",
            "values",
            "in step p - 1 a finished part arrives; adding it would count some terms twice.",
        ),
        Mutant(
            "no wrap around",
            "(rank - step) % ranks",
            "rank - step",
            "values",
            "parts are numbered from 0 to p - 1: take the number modulo p.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the definition, and with parts that are followed step by step."""
    for ranks in (4, 2, 5, 1):
        for rank in range(ranks):
            expected, sent = [], rank
            for step in range(2 * (ranks - 1)):
                received = sent - 1 if sent else ranks - 1
                expected.append((sent, received, step < ranks - 1))
                sent = received
            stage = "edges" if ranks == 1 else "values"
            yield Case(student.ring, (rank, ranks), expected, stage=stage)
