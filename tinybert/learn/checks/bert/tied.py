"""Check of bert/tied."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=15,
    level=3,
    lesson=25,
    hints=(
        "Join the axes of batch and tokens: dscores as (N, V) and states as (N, D). Which product "
        "of the two is (V, D)?",
        "dtable[ids] += dx adds only once for an id that occurs twice. NumPy has a function that "
        "adds every time: np.add.at.",
        "A boolean array selects the positions without padding: ids[real] is (n,), dx[real] is "
        "(n, D).",
    ),
    mutants=(
        Mutant(
            "output part only",
            "    np.add.at(dtable, ids[real], dx[real])\n",
            "",
            "gradient",
            "the table is also the word embeddings: add their gradient dx to the rows of the ids.",
        ),
        Mutant(
            "input part only",
            "dtable = dscores.reshape(-1, vocab).T @ states.reshape(-1, width)",
            "dtable = np.zeros((vocab, width))",
            "gradient",
            "the table also computes the scores: every row gets a gradient from them.",
        ),
        Mutant(
            "mean of both",
            "    return dtable",
            "    return dtable / 2",
            "gradient",
            "gradients of several uses are added, not averaged.",
        ),
        Mutant(
            "repeats lost",
            "np.add.at(dtable, ids[real], dx[real])",
            "dtable[ids[real]] += dx[real]",
            "gradient",
            "+= with an array of rows adds only once to a row that occurs twice; np.add.at adds "
            "every time.",
        ),
        Mutant(
            "padding trained",
            "real = ids != pad_id",
            "real = ids >= 0",
            "gradient",
            "the word embeddings of padding get no gradient: leave out positions with pad_id.",
        ),
        Mutant(
            "padding left out of the output part",
            "    return dtable",
            "    dtable[pad_id] = 0\n    return dtable",
            "gradient",
            "the row of padding gets no gradient as an input embedding, but it gets one as an "
            "output weight: softmax lowers the scores of all other tokens.",
        ),
        Mutant(
            "output part without padded positions",
            "dscores.reshape(-1, vocab).T @ states.reshape(-1, width)",
            "dscores[ids != pad_id].T @ states[ids != pad_id]",
            "gradient",
            "all positions count in the output part; dscores is 0 where the loss ignores one.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the gradient of a small network whose table is used twice."""
    for seed, (batch, length, width, vocab) in enumerate(
        ((2, 6, 5, 7), (1, 4, 3, 9), (3, 5, 4, 6))
    ):
        rng = np.random.default_rng(seed)
        ids = rng.integers(0, 4, (batch, length))  # few, so that they repeat
        ids[0, :2] = 0, 1
        table = Tensor(rng.normal(size=(vocab, width)), requires_grad=True)
        x = F.embedding(ids, table, padding_idx=0)
        x.retain_grad()
        states = (x @ rng.normal(size=(width, width))).tanh()
        dscores = rng.normal(size=(batch, length, vocab))
        (states @ table.transpose(0, 1)).backward(dscores)
        yield Case(
            student.tied_gradient,
            (ids, np.asarray(x.grad), states.numpy(), dscores, 0),
            np.asarray(table.grad),
            stage="gradient",
        )
