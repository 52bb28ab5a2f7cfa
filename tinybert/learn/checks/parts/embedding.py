"""Check of parts/embedding."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.learn.patches import Patch

_READY = "write it here; the scatter-add is what you are building"
EXERCISE = Exercise(
    minutes=10,
    level=2,
    lesson=14,
    hints=(
        "The zeros need the dtype of dy: NumPy's default is float64.",
        "np.add.at(array, indices, values) adds every value, also where an index is repeated. ids "
        "and dy can be passed as they are.",
        "Compare padding_idx with None: an id of 0 counts as false in an `if`.",
    ),
    forbidden={"scatter_sum": _READY, "Embedding": _READY, "embedding": _READY},
    mutants=(
        Mutant(
            "repeated ids lost",
            "np.add.at(dweight, ids, dy)",
            "dweight[ids] += dy",
            "gradient",
            "with += only one gradient of a repeated id remains; np.add.at adds them all.",
        ),
        Mutant(
            "only the last one written",
            "np.add.at(dweight, ids, dy)",
            "dweight[ids] = dy",
            "gradient",
            "an id that occurs several times needs the sum of its gradients.",
            same_as="repeated ids lost",
        ),
        Mutant(
            "mean instead of sum",
            "    if padding_idx is not None:",
            "    times = np.bincount(ids.reshape(-1), minlength=count)\n"
            "    dweight /= np.maximum(times, 1)[:, None].astype(dy.dtype)\n"
            "    if padding_idx is not None:",
            "gradient",
            "the gradients of all uses of a row are added, not averaged.",
        ),
        Mutant(
            "transposed",
            "return dweight",
            "return dweight.T",
            "shape",
            "the gradient has the shape of the table: a row for each id.",
        ),
        Mutant(
            "always float64",
            "np.zeros((count, dy.shape[-1]), dy.dtype)",
            "np.zeros((count, dy.shape[-1]))",
            "dtype",
            "np.zeros makes float64; pass the dtype of dy.",
        ),
        Mutant(
            "padding_idx 0 taken for None",
            "if padding_idx is not None:",
            "if padding_idx:",
            "gradient",
            "0 is false in an `if`; compare with None.",
        ),
        Mutant(
            "padding row trained",
            "        dweight[padding_idx] = 0\n",
            "        dweight = dweight + 0\n",
            "gradient",
            "the row padding_idx has to be 0.",
        ),
        Mutant(
            "dy overwritten",
            "np.add.at(dweight, ids, dy)",
            "dy[ids == padding_idx] = 0\n    np.add.at(dweight, ids, dy)",
            "unchanged",
            "clear the row of the result; the caller still needs dy as it was.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with a product with one-hot rows."""
    rng = np.random.default_rng(0)
    for shape in ((6,), (2, 5), (2, 3, 4)):
        ids, dy = rng.integers(0, 7, shape), rng.normal(size=(*shape, 3))
        right = _expected(dy, ids, 9)
        yield Case(student.embedding_backward, (dy, ids, 9), right, stage="gradient")
    single = dy.astype(np.float32)
    right = _expected(dy, ids, 9).astype(np.float32)
    yield Case(student.embedding_backward, (single, ids, 9), right, {}, "gradient", (), 1e-6)
    for row in (4, 0):
        ids[0, 0] = row
        right = _expected(dy, ids, 9)
        right[row] = 0
        yield Case(student.embedding_backward, (dy, ids, 9, row), right, stage="gradient")
    nothing = np.zeros((0, 3)), np.zeros(0, int), 4
    yield Case(student.embedding_backward, nothing, np.zeros((4, 3)), stage="edges")


def _expected(dy: np.ndarray, ids: np.ndarray, count: int) -> np.ndarray:
    one_hot = np.eye(count)[ids.reshape(-1)]  # (positions, V)
    product: np.ndarray = one_hot.T @ dy.reshape(-1, dy.shape[-1])
    return product


def plug(student: ModuleType) -> tuple[Patch, ...]:
    """Run the learner's backward for all tables of the model."""

    def backward(self: Any, dy: Any) -> Any:
        return None, student.embedding_backward(dy, self.ids, self.count, self.padding_idx)

    return (Patch("tinybert.ops.embedding.Embedding.backward", backward),)
