"""Check of parts/dropout."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant

EXERCISE = Exercise(
    minutes=8,
    level=1,
    lesson=14,
    hints=(
        "Comparing an array of random numbers with p gives an array of True and False; in a "
        "product they count as 1 and 0.",
        "Keep the mask in a variable. A second call of rng would give another one.",
        "x times the mask, divided by 1 - p, keeps the dtype of x. Dividing the mask first would "
        "give float64.",
    ),
    forbidden={"Dropout": "write it here; a ready dropout is what you are building"},
    mutants=(
        Mutant(
            "not divided by 1 - p",
            "return x * keep / (1 - p), dy * keep / (1 - p)",
            "return x * keep, dy * keep",
            "values",
            "the elements that remain are divided by 1 - p; then the expected value of y is x.",
        ),
        Mutant(
            "dx not divided by 1 - p",
            "dy * keep / (1 - p)",
            "dy * keep",
            "values",
            "y is x times a factor, and dx is dy times the same factor.",
        ),
        Mutant(
            "mask divided first",
            "return x * keep / (1 - p), dy * keep / (1 - p)",
            "return x * (keep / (1 - p)), dy * (keep / (1 - p))",
            "dtype",
            "True / 0.5 is float64, and makes a float32 array float64: divide last.",
        ),
        Mutant(
            "a new mask for dx",
            "dy * keep",
            "dy * (rng.random(x.shape) >= p)",
            "values",
            "an element that was 0 in forward has no effect on y, so its gradient is 0: use the "
            "same mask.",
        ),
        Mutant(
            "dy passed on",
            "dy * keep / (1 - p)",
            "dy",
            "values",
            "multiply dy by the same factors as x.",
        ),
        Mutant(
            "kept with probability p",
            ">= p",
            "< p",
            "values",
            "p is the probability of a 0: an element is kept where the number is at least p.",
        ),
        Mutant(
            "divided by p",
            "return x * keep / (1 - p), dy * keep / (1 - p)",
            "return x * keep / p, dy * keep / p",
            "values",
            "a share of 1 - p is kept, so that is what to divide by.",
        ),
        Mutant(
            "one mask for all rows",
            "keep = rng.random(x.shape)",
            "keep = rng.random(x.shape[-1])",
            "values",
            "each element has a random number of its own.",
        ),
        Mutant(
            "dropout outside of training",
            "    if not training:\n        return x, dy\n",
            "",
            "values",
            "with training=False, return x and dy as they are.",
        ),
        Mutant(
            "scaled outside of training",
            "        return x, dy\n",
            "        return x * (1 - p), dy * (1 - p)\n",
            "values",
            "because of the division by 1 - p in training, nothing is scaled afterwards.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Compare with masks from generators with the same seeds."""
    rng = np.random.default_rng(0)
    names = ("y", "dx")
    for seed, (shape, p) in enumerate((((3, 4), 0.4), ((2, 3, 5), 0.1), ((7,), 0.7))):
        x, dy = rng.normal(size=(2, *shape))
        factor = np.where(np.random.default_rng(seed).random(shape) < p, 0.0, 1 / (1 - p))
        draws = np.random.default_rng(seed)
        yield Case(student.dropout, (x, dy, p, True, draws), (x * factor, dy * factor), names=names)
    draws = np.random.default_rng(8)
    yield Case(student.dropout, (x, dy, 0.7, False, draws), (x, dy), names=names)
    single = np.ones((2, 3), np.float32)
    kept = np.random.default_rng(9).random((2, 3)) >= 0.5
    right = np.where(kept, 2, 0).astype(np.float32)
    draws = np.random.default_rng(9)
    yield Case(student.dropout, (single, single, 0.5, True, draws), (right, right), names=names)
    draws = np.random.default_rng(10)
    yield Case(student.dropout, (x, dy, 0.0, True, draws), (x, dy), names=names, stage="edges")
