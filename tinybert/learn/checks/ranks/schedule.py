"""Check of ranks/schedule."""

from collections.abc import Iterator
from types import ModuleType

from tinybert.learn.exercise import Case, Exercise, Mutant

_ALTERNATE = "[first + k, -k]"
EXERCISE = Exercise(
    minutes=12,
    level=3,
    lesson=55,
    hints=(
        "How many forward passes does the warm-up of this stage have? Name that number first.",
        "While alternating, the forward passes are ahead of the backward passes by the warm-up.",
        "Backward passes go from 1 to m in the same order as forward passes.",
    ),
    mutants=(
        Mutant(
            "GPipe",
            "min(stages - 1 - stage, count)",
            "count",
            "values",
            "that runs all forward passes first, and keeps the activations of all micro-batches.",
        ),
        Mutant(
            "the same warm-up on every stage",
            "stages - 1 - stage",
            "stages - 1",
            "values",
            "later stages start later and get their gradient sooner: they warm up less.",
        ),
        Mutant(
            "one more warm-up",
            "stages - 1 - stage",
            "stages - stage",
            "values",
            "the last stage has no warm-up: it can go back at once.",
        ),
        Mutant(
            "backward before forward",
            _ALTERNATE,
            "[-k, first + k]",
            "values",
            "one forward, then one backward: a stage without warm-up has nothing to go back from.",
        ),
        Mutant(
            "backward passes from the last",
            "range(count - first + 1, count + 1)",
            "range(count, count - first, -1)",
            "values",
            "gradients arrive in the order of the micro-batches.",
        ),
        Mutant(
            "no cool-down",
            "order + [-k for k in range(count - first + 1, count + 1)]",
            "order",
            "values",
            "the backward passes of the warm-up are still to come.",
        ),
        Mutant(
            "too few micro-batches not expected",
            "min(stages - 1 - stage, count)",
            "stages - 1 - stage",
            "edges",
            "with fewer micro-batches than the warm-up has, all forward passes are the warm-up.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the schedule, built from the count of micro-batches that a stage keeps."""
    for stages, count in ((4, 8), (3, 3), (1, 2), (4, 2), (6, 1)):
        for stage in range(stages):
            order, forward, backward = list[int](), 0, 0
            while backward < count:
                if forward < count and forward - backward < stages - stage:
                    forward += 1
                    order.append(forward)
                else:
                    backward += 1
                    order.append(-backward)
            case = "edges" if count < stages - 1 else "values"
            yield Case(student.schedule, (stage, stages, count), order, stage=case)
