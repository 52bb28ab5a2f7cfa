"""Check of parts/adamw."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant
from tinybert.optim.adam import adam_step

EXERCISE = Exercise(
    minutes=5,
    level=1,
    lesson=31,
    hints=(
        "An array has its number of axes in the attribute ndim.",
        "The decay has three factors: the learning rate, decay, and the weight before the step.",
        "`w -= ...` would change the caller's array; bind the name w to a new one, and pass it to "
        "adam.",
    ),
    forbidden={
        "AdamW": "write it here; a ready AdamW is what you are building",
        "adam_step": "call the given adam; the decay is what you are building",
    },
    mutants=(
        Mutant(
            "decay in the gradient",
            "w = w - lr * decay * w",
            "g = g + decay * w",
            "values",
            "that is Adam with an L2 penalty: the decay is divided by sqrt(v_hat). Change w.",
        ),
        Mutant(
            "decay in the gradient as well",
            "w = w - lr * decay * w",
            "g = g + decay * w\n        w = w - lr * decay * w",
            "values",
            "the decay is applied twice; leave the gradient as it is.",
        ),
        Mutant(
            "decay without the learning rate",
            "w = w - lr * decay * w",
            "w = w - decay * w",
            "values",
            "the decay is multiplied by lr, so that it follows the learning-rate schedule.",
        ),
        Mutant(
            "weights grow",
            "w = w - lr * decay * w",
            "w = w + lr * decay * w",
            "values",
            "decay makes weights smaller: subtract it.",
        ),
        Mutant(
            "decay after the step",
            "    if w.ndim > 1:\n        w = w - lr * decay * w\n"
            "    return adam(w, g, m, v, t, lr)",
            "    w, m, v = adam(w, g, m, v, t, lr)\n    if w.ndim > 1:\n"
            "        w = w - lr * decay * w\n    return w, m, v",
            "values",
            "decay the weight before the step of Adam; afterwards the step would be decayed too.",
        ),
        Mutant(
            "biases too",
            "    if w.ndim > 1:\n        w = w - lr * decay * w\n",
            "    w = w - lr * decay * w\n",
            "values",
            "arrays of one axis, such as biases, are not decayed.",
        ),
        Mutant(
            "w changed in place",
            "w = w - lr * decay * w",
            "w -= lr * decay * w",
            "unchanged",
            "-= changes the caller's array.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with the engine's step; arrays of one axis have no decay."""
    rng = np.random.default_rng(0)
    for t, shape in ((3, (2, 3)), (1, (4, 2)), (2, (5,)), (4, (2, 3, 4))):
        w, g, m = rng.normal(size=(3, *shape))
        v = rng.uniform(0.5, 2, shape)
        right = w.copy(), m.copy(), v.copy()
        adam_step.formula(
            right[0], g, right[1], right[2], lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8,
            weight_decay=0.3 if len(shape) > 1 else 0.0, decoupled=True, step=t,
        )  # fmt: skip
        yield Case(student.adamw, (w, g, m, v, t, 0.1, 0.3), right, names=("w", "m", "v"))
