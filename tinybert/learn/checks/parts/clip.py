"""Check of parts/clip."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant

_LIST = "[None if g is None else g * scale for g in gradients]"
EXERCISE = Exercise(
    minutes=10,
    level=2,
    lesson=31,
    hints=(
        "Add the sums of squares of all gradients first, and take one root at the end.",
        "Where the norm is below max_norm, min makes the scale 1: clipping never makes a gradient "
        "longer.",
        "The None among the gradients is skipped in the norm, and copied in the list.",
    ),
    forbidden={"clip_grad_norm_": "write it here; this is what you are building"},
    mutants=(
        Mutant(
            "each gradient on its own",
            _LIST,
            "[\n        None if g is None"
            " else g * min(1.0, max_norm / (float(np.sqrt((g * g).sum())) + 1e-6))\n"
            "        for g in gradients\n    ]",
            "values",
            "with a scale for each parameter the direction changes; use one norm for all.",
        ),
        Mutant(
            "sum of the norms",
            "np.sqrt(sum((g * g).sum() for g in gradients if g is not None))",
            "sum(np.sqrt((g * g).sum()) for g in gradients if g is not None)",
            "values",
            "the norm of one long vector: add the squares, and take the root at the end.",
        ),
        Mutant(
            "no root",
            "np.sqrt(sum((g * g).sum() for g in gradients if g is not None))",
            "sum((g * g).sum() for g in gradients if g is not None)",
            "values",
            "that is the square of the norm.",
        ),
        Mutant(
            "sum of absolute values",
            "np.sqrt(sum((g * g).sum() for g in gradients if g is not None))",
            "sum(np.abs(g).sum() for g in gradients if g is not None)",
            "values",
            "that is the L1 norm; the length of a vector is the root of the sum of squares.",
        ),
        Mutant(
            "each number limited",
            _LIST,
            "[None if g is None else np.clip(g, -max_norm, max_norm) for g in gradients]",
            "values",
            "np.clip limits every number on its own, which changes the direction.",
        ),
        Mutant(
            "norm after clipping",
            _LIST + ", norm",
            _LIST + ", norm * scale",
            "values",
            "return the norm before clipping: it shows when training becomes unstable.",
        ),
        Mutant(
            "short gradients made longer",
            "min(1.0, max_norm / (norm + 1e-6))",
            "max_norm / (norm + 1e-6)",
            "values",
            "gradients below max_norm stay as they are: the scale is at most 1.",
        ),
        Mutant(
            "None not expected",
            "gradients if g is not None)",
            "gradients)",
            "edges",
            "a parameter that was not used has the gradient None; skip it.",
        ),
        Mutant(
            "None left out",
            _LIST,
            "[g * scale for g in gradients if g is not None]",
            "edges",
            "the list must have a place for each parameter; None stays None.",
        ),
        Mutant(
            "changed in place",
            _LIST,
            "[None if g is None else np.multiply(g, scale, out=g) for g in gradients]",
            "unchanged",
            "make new arrays; the caller still needs the gradients as they were.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the norm of the concatenated gradients."""
    rng = np.random.default_rng(0)
    for max_norm in (1.0, 100.0):
        gradients = [rng.normal(size=shape) for shape in ((2, 3), (5,), (2, 1, 4))]
        norm = float(np.linalg.norm(np.concatenate([g.reshape(-1) for g in gradients])))
        scale = max_norm / (norm + 1e-6) if norm > max_norm else 1.0
        expected = [g * scale for g in gradients], norm
        yield _case(student, (gradients, max_norm), expected, "values")
    some = [None, np.array([3.0]), None, np.array([[4.0]])]
    right = [None, np.array([3.0]) / 5.000001, None, np.array([[4.0]]) / 5.000001]
    yield _case(student, (some, 1.0), (right, 5.0), "edges")
    zeros = [np.zeros(2), np.zeros((1, 3))]
    yield _case(student, (zeros, 1.0), (zeros, 0.0), "edges")
    yield _case(student, ([None], 1.0), ([None], 0.0), "edges")


def _case(
    student: ModuleType, arguments: tuple[list, float], expected: tuple[list, float], stage: str
) -> Case:
    names = ("gradients", "norm")
    return Case(student.clip, arguments, expected, stage=stage, names=names)
