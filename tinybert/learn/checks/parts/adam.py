"""Check of parts/adam."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.optim.adam import adam_step

EXERCISE = Exercise(
    minutes=10,
    level=2,
    lesson=31,
    hints=(
        "`m = ...` gives the name to a new array; `m *= ...` would change the caller's array.",
        "In Python, beta1 to the power of t is written with **.",
        "eps is added to the root, not under it. Return m and v, not m_hat and v_hat.",
    ),
    forbidden={
        "Adam": "write it here; a ready Adam is what you are building",
        "adam_step": "write it here; a ready Adam is what you are building",
    },
    mutants=(
        Mutant(
            "bias not corrected",
            "m_hat = m / (1 - beta1**t)\n    v_hat = v / (1 - beta2**t)",
            "m_hat, v_hat = m, v",
            "values",
            "m and v start at 0; divide them by 1 - beta^t.",
        ),
        Mutant(
            "t counted from 0",
            "m_hat = m / (1 - beta1**t)\n    v_hat = v / (1 - beta2**t)",
            "m_hat = m / (1 - beta1 ** (t + 1))\n    v_hat = v / (1 - beta2 ** (t + 1))",
            "values",
            "t is 1 in the first step already; do not add 1.",
        ),
        Mutant(
            "power forgotten",
            "m_hat = m / (1 - beta1**t)\n    v_hat = v / (1 - beta2**t)",
            "m_hat = m / (1 - beta1)\n    v_hat = v / (1 - beta2)",
            "values",
            "the correction becomes weaker with every step: 1 - beta^t.",
        ),
        Mutant(
            "gradient not squared",
            "g**2",
            "g",
            "values",
            "v is the running mean of the square of the gradient.",
        ),
        Mutant(
            "decayed after the addition",
            "m = beta1 * m + (1 - beta1) * g",
            "m = beta1 * (m + (1 - beta1) * g)",
            "values",
            "only the old m is multiplied by beta1.",
        ),
        Mutant(
            "uphill",
            "return w - lr",
            "return w + lr",
            "values",
            "the loss grows along the gradient; subtract the step.",
        ),
        Mutant(
            "corrected means returned",
            "+ eps), m, v",
            "+ eps), m_hat, v_hat",
            "values",
            "the next step needs m and v without the correction; else they are corrected twice.",
        ),
        Mutant(
            "eps under the root",
            "(np.sqrt(v_hat) + eps)",
            "np.sqrt(v_hat + eps)",
            "edges",
            "the root of eps is 10000 times larger than eps = 1e-8; add eps after the root.",
        ),
        Mutant(
            "m changed in place",
            "m = beta1 * m + (1 - beta1) * g",
            "m *= beta1\n    m += (1 - beta1) * g",
            "unchanged",
            "*= and += change the caller's array.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's Adam: first steps, later ones, and gradients near 0."""
    rng = np.random.default_rng(0)
    names = ("w", "m", "v")
    for t, shape in ((3, (2, 3)), (1, (4,)), (50, (2, 3, 4))):
        w, g, m = rng.normal(size=(3, *shape))
        v = rng.uniform(0.5, 2, shape)
        if t == 1:
            m, v = np.zeros(shape), np.zeros(shape)
        options = {"lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-12}
        expected = _expected(w, g, m, v, t, options)
        yield Case(student.adam, (w, g, m, v, t), expected, options, names=names)
    w, zeros = rng.normal(size=4), np.zeros(4)
    g = np.array([1e-7, -1e-8, 1e-9, 0.0])
    options = {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    expected = _expected(w, g, zeros, zeros, 1, options)
    yield Case(student.adam, (w, g, zeros, zeros, 1), expected, options, "edges", names)
    single = np.ones(3, np.float32), np.full(3, 0.5, np.float32)
    expected = _expected(*single, *single, 2, options)
    yield Case(student.adam, (*single, *single, 2), expected, options, "values", names, 1e-6)


def _expected(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    step: int,
    options: dict[str, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    w, m, v = w.copy(), m.copy(), v.copy()
    adam_step.formula(w, g, m, v, step=step, weight_decay=0.0, decoupled=False, **options)
    return w, m, v
