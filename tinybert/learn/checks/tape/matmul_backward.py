"""Check of tape/matmul_backward."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.autograd import Tensor
from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.gradients import leaf_gradients

EXERCISE = Exercise(
    minutes=15,
    level=3,
    lesson=1,
    hints=(
        "Write the shapes under the names: (I, J) and (K, J) give (I, K) if the second is "
        "transposed.",
        "x.T reverses all axes. With axes in front only the last two may change places: "
        "x.swapaxes(-1, -2).",
        "da is dy times the transpose of `columns`, db is the transpose of `rows` times dy. Both "
        "may have more axes than the matrix had: unbroadcast them first, then reshape.",
    ),
    mutants=(
        Mutant(
            "b not transposed",
            "columns.swapaxes(-1, -2)",
            "columns",
            "gradient",
            "dy (I, J) needs the transpose of b (K, J) to give da (I, K).",
        ),
        Mutant(
            "a not transposed",
            "rows.swapaxes(-1, -2)",
            "rows",
            "gradient",
            "the transpose of a (K, I) times dy (I, J) is db (K, J).",
        ),
        Mutant(
            ".T with more than two axes",
            "rows.swapaxes(-1, -2)",
            "rows.T",
            "gradient",
            ".T reverses the order of all axes; swap only the last two.",
        ),
        Mutant(
            "factors swapped",
            "rows.swapaxes(-1, -2) @ dy",
            "dy.swapaxes(-1, -2) @ rows",
            "gradient",
            "a matrix product is not commutative: this is the transpose of the gradient.",
        ),
        Mutant(
            "axes in front not summed",
            "unbroadcast(rows.swapaxes(-1, -2) @ dy, columns.shape)",
            "rows.swapaxes(-1, -2) @ dy",
            "gradient",
            "b was used for several products, so its gradient is the sum over all of them.",
        ),
        Mutant(
            "vectors stay matrices",
            "return da.reshape(a.shape), db.reshape(b.shape)",
            "return da, db",
            "shape",
            "a vector has a gradient with one axis: reshape to the shape that came in.",
        ),
    ),
)
SHAPES = (
    ((2, 3), (3, 5)),
    ((4, 2, 3), (4, 3, 5)),
    ((4, 2, 3), (3, 5)),
    ((2, 3), (4, 3, 5)),
    ((7, 1, 2, 3), (4, 3, 5)),
)
EDGES = (((3,), (3, 5)), ((2, 3), (3,)), ((3,), (3,)), ((3,), (4, 3, 5)), ((4, 2, 3), (3,)))


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's product."""
    rng = np.random.default_rng(0)
    for stage, pairs in (("gradient", SHAPES), ("edges", EDGES)):
        for shapes in pairs:
            a, b = (rng.normal(size=shape) for shape in shapes)
            dy = rng.normal(size=(a @ b).shape)
            left, right = (Tensor(value, requires_grad=True) for value in (a, b))
            expected = leaf_gradients(left @ right, dy, left, right)
            yield Case(
                student.matmul_backward, (dy, a, b), expected, stage=stage, names=("da", "db")
            )
