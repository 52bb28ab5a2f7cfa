"""Check of tape/gradcheck."""

from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=20,
    level=3,
    lesson=4,
    hints=(
        "np.random.default_rng(0).normal(size=...) makes dy; its shape is that of forward(x), "
        "which can be another one than that of x.",
        "np.ndindex(x.shape) runs over all indices. For each one make a step: zeros, with eps at "
        "this index. x + step is a new array, so that x stays as it is.",
        "Subtract the outputs first, then multiply with dy, then sum: less is lost in rounding. "
        "And a comparison with nan is False: write it so that this means `not passed`.",
    ),
    forbidden={"gradcheck": "this is the engine's; write your own, with NumPy alone"},
    # A wrong answer is the same for all who are wrong: mutants that fail in fewer cases come first.
    mutants=(
        Mutant(
            "nan passes",
            "if not abs(dx[index] - numeric) <= 1e-7 + 1e-5 * abs(numeric):",
            "if abs(dx[index] - numeric) > 1e-7 + 1e-5 * abs(numeric):",
            "edges",
            "nan > 1 is False, so a gradient of nan passed: ask for `not difference <= limit`.",
        ),
        Mutant(
            "not in float64",
            "x.astype(np.float64)",
            "x.copy()",
            "edges",
            "x + 1e-6 is rounded away in float32: convert x to float64 first.",
        ),
        Mutant(
            "gradient of ones",
            "np.random.default_rng(0).normal(size=forward(x).shape)",
            "np.ones(forward(x).shape)",
            "values",
            "with dy of ones many wrong backwards look right: make dy random.",
        ),
        Mutant(
            "one element only",
            "np.ndindex(x.shape)",
            "[(0,) * x.ndim]",
            "values",
            "a backward can be wrong for one element of x and right for the others: compare all.",
        ),
        Mutant(
            "one-sided difference",
            "(forward(x + step) - forward(x - step))).sum() / (2 * eps)",
            "(forward(x + step) - forward(x))).sum() / eps",
            "values",
            "with one side the error grows with the curvature, and a right backward is rejected: "
            "move x to both sides.",
        ),
        Mutant(
            "absolute difference only",
            "1e-7 + 1e-5 * abs(numeric)",
            "1e-7",
            "values",
            "a gradient of a million cannot be right to 1e-7: allow a share of the number itself.",
        ),
        Mutant(
            "relative difference only",
            "1e-7 + 1e-5 * abs(numeric)",
            "1e-5 * abs(numeric)",
            "values",
            "where the gradient is 0, rounding alone exceeds any share of it: allow 1e-7 as well.",
        ),
        Mutant(
            "factor 2 left out",
            "(2 * eps)",
            "eps",
            "values",
            "x + eps and x - eps are 2 eps apart.",
        ),
    ),
)


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def _softmax_backward(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    p = _softmax(x)
    return p * (dy - (dy * p).sum(-1, keepdims=True))


def _last_is_wrong(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    dx = dy * np.cos(x)
    dx[-1, -1] *= 1.01
    return dx


_WRONG = (
    ("tanh, the square forgotten", np.tanh, lambda x, dy: dy * (1 - np.tanh(x))),
    ("sine, with another sign", np.sin, lambda x, dy: -dy * np.cos(x)),
    ("softmax, a backward of zeros", _softmax, lambda x, dy: 0 * x),
    ("softmax, its diagonal only", _softmax, lambda x, dy: dy * _softmax(x) * (1 - _softmax(x))),
    ("sine, the last element 1% too large", np.sin, _last_is_wrong),
    ("sum of the rows, their mean in backward", lambda x: x.sum(0), lambda x, dy: dy / 2 + 0 * x),
)
_RIGHT = (
    ("a backward of softmax that is right", _softmax, _softmax_backward),
    (
        "exp(14 + x), right, with large gradients",
        lambda x: np.exp(14 + x),
        lambda x, dy: dy * np.exp(14 + x),
    ),
    (
        "sin(1000 x), right, with much curvature",
        lambda x: np.sin(1000 * x),
        lambda x, dy: 1000 * dy * np.cos(1000 * x),
    ),
    (
        "(x + 1)^2 - x^2 - 2 x, right: the gradient is 0",
        lambda x: (x + 1) ** 2 - x**2 - 2 * x,
        lambda x, dy: 0 * x,
    ),
    ("sum of the rows, right", lambda x: x.sum(0), lambda x, dy: dy + 0 * x),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Let it judge backwards that are right and such that are wrong."""
    x = np.random.default_rng(0).normal(size=(2, 3))

    def case(
        is_right: bool,
        what: str,
        forward: Callable[..., np.ndarray],
        backward: Callable[..., np.ndarray],
        x: np.ndarray = x,
        stage: str = "values",
    ) -> Case:
        return Case(student.gradcheck, (forward, backward, x), is_right, stage=stage, what=what)

    for right in _RIGHT:
        yield case(True, *right)
    for wrong in _WRONG:
        yield case(False, *wrong)
    single = x.astype(np.float32)
    yield case(True, "tanh of float32, right", np.tanh, _tanh_backward, single, "edges")
    yield case(False, "tanh, a backward of nan", np.tanh, lambda x, dy: x * np.nan, stage="edges")
    yield case(True, "one number, tanh, right", np.tanh, _tanh_backward, np.array(0.3), "edges")


def _tanh_backward(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    return dy * (1 - np.tanh(x) ** 2)
