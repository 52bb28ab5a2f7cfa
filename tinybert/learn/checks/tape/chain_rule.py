"""Check of tape/chain_rule."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.gradients import leaf_gradients

EXERCISE = Exercise(
    minutes=8,
    level=1,
    lesson=1,
    hints=(
        "Three factors: dL/da of the mean of squares, da/dz of tanh, and dz/dw or dz/db of the "
        "weighted sum.",
        "L is (1/B) times a sum of squares, so da has the factor 2 / B. dz is da times 1 - a^2.",
        "z grows by x[row, i] times as much as w[i], in every row: multiply dz with that column of "
        "x and add up. The factor of b is 1.",
    ),
    forbidden={"Tensor": "a Tensor would apply the chain rule for you; write it with NumPy"},
    mutants=(
        Mutant(
            "sign of the loss",
            "2 * (a - t)",
            "2 * (t - a)",
            "gradient",
            "the derivative of (a - t)^2 is 2 (a - t): L falls if a comes nearer to t.",
        ),
        Mutant(
            "derivative of tanh left out",
            "da * (1 - a**2)",
            "da",
            "gradient",
            "a is tanh(z): dz is da times the derivative of tanh.",
        ),
        Mutant(
            "1 - z^2",
            "(1 - a**2)",
            "(1 - z**2)",
            "gradient",
            "the derivative of tanh(z) is 1 - tanh(z)^2, which is 1 - a^2.",
        ),
        Mutant(
            "w for x",
            "x.T @ dz",
            "dz.sum() * w",
            "gradient",
            "the derivative of x w with respect to w is x, not w.",
        ),
        Mutant(
            "sum instead of mean",
            " / len(x)",
            "",
            "gradient",
            "the loss is a mean over B rows: each row has the factor 1 / B.",
        ),
        Mutant(
            "factor 2 left out",
            "2 * (a - t)",
            "1 * (a - t)",
            "gradient",
            "the derivative of a square has the factor 2.",
        ),
        Mutant(
            "bias as a constant",
            "dz.sum()",
            "0.0",
            "gradient",
            "the bias is learned as well: z grows by as much as b in every row.",
        ),
        Mutant(
            "mean of the rows for the bias",
            "dz.sum()",
            "dz.mean()",
            "gradient",
            "da has the factor 1 / B already: db is the sum over the rows.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine, which does the same with a graph of operations."""
    rng = np.random.default_rng(0)
    for rows, inputs in ((5, 3), (1, 4), (7, 1)):
        x, w, t = (rng.normal(size=shape) for shape in ((rows, inputs), inputs, rows))
        b = round(float(rng.normal()), 2)
        weight, bias = Tensor(w, requires_grad=True), Tensor(b, dtype="float64", requires_grad=True)
        loss = (((Tensor(x) @ weight + bias).tanh() - t) ** 2).mean()
        dw, db = leaf_gradients(loss, 1.0, weight, bias)
        yield Case(
            student.neuron_backward,
            (x, w, b, t),
            (dw, db.item()),
            stage="gradient",
            names=("dw", "db"),
        )
