"""Check of attn/heads."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tinybert.learn.exercise import Case, Exercise, Mutant

_SPLIT = "x.reshape(batch, length, heads, width // heads).swapaxes(1, 2)"
_READY = "write it here with reshape and swapaxes; this is what you are building"
EXERCISE = Exercise(
    minutes=10,
    level=2,
    lesson=19,
    hints=(
        "The features of one token are next to each other in memory, head after head: first cut "
        "the last axis in two, into heads and features of a head.",
        "After the cut the axes are (B, T, H, K). Which two have to change places?",
        "Merging is the same in reverse: first swap the two axes back, then reshape.",
    ),
    forbidden={"split_heads": _READY, "merge_heads": _READY},
    mutants=(
        Mutant(
            "split by reshape alone",
            _SPLIT,
            "x.reshape(batch, heads, length, width // heads)",
            "values",
            "the shape is right, but numbers of several tokens are in one head. Reshape to "
            "(B, T, H, K), then swap two axes.",
        ),
        Mutant(
            "features dealt out in turn",
            _SPLIT,
            "x.reshape(batch, length, width // heads, heads).transpose(0, 3, 1, 2)",
            "values",
            "a head owns K features in a row: cut the last axis into (H, K), not (K, H).",
        ),
        Mutant(
            "tokens and features swapped",
            _SPLIT,
            "x.reshape(batch, length, heads, width // heads).transpose(0, 2, 3, 1)",
            "shape",
            "the last two axes are (T, K): a row for each token.",
        ),
        Mutant(
            "heads not moved",
            _SPLIT,
            "x.reshape(batch, length, heads, width // heads)",
            "shape",
            "the heads have to come before the tokens: swap the axes T and H.",
        ),
        Mutant(
            "heads before the batch",
            _SPLIT,
            "x.reshape(batch, length, heads, width // heads).transpose(2, 0, 1, 3)",
            "shape",
            "the batch stays the first axis.",
        ),
        Mutant(
            "merged by reshape alone",
            "y.swapaxes(1, 2).reshape(batch, length, width)",
            "y.reshape(batch, length, width)",
            "values",
            "swap the axes of heads and tokens back before the reshape; else the numbers of a "
            "token come from one head and several tokens.",
        ),
        Mutant(
            "features before heads in the merge",
            "y.swapaxes(1, 2).reshape(batch, length, width)",
            "y.transpose(0, 2, 3, 1).reshape(batch, length, width)",
            "values",
            "head h owns K features in a row: the axes are (B, T, H, K) before the reshape.",
        ),
        Mutant(
            "result of function not used",
            "y = function(split)",
            "function(split)\n    y = split",
            "values",
            "merge what function returns, not what it was given.",
        ),
    ),
)


def check(student: ModuleType) -> Iterator[Case]:
    """Look at what `function` gets, then give it another array to return."""
    rng = np.random.default_rng(0)

    def split(x: np.ndarray, heads: int) -> Any:
        seen: list[Any] = []

        def function(argument: Any) -> Any:
            seen.append(argument)
            return argument

        student.in_heads(x, heads, function)
        return seen[0] if seen else None

    def merged(x: np.ndarray, heads: int, y: np.ndarray) -> Any:
        return student.in_heads(x, heads, lambda argument: y)

    for batch, heads, length, size in ((2, 3, 4, 5), (1, 4, 3, 2), (3, 1, 2, 4)):
        x = rng.normal(size=(batch, length, heads * size))
        y = rng.normal(size=(batch, heads, length, size))
        parts = [x[:, :, h * size : (h + 1) * size] for h in range(heads)]
        what = f"in_heads(x: {x.shape}, heads={heads}, function)"
        right = np.stack(parts, axis=1)
        yield Case(split, (x, heads), right, what=f"what function gets in {what}")
        right = np.concatenate([y[:, h] for h in range(heads)], axis=-1)
        yield Case(merged, (x, heads, y), right, what=f"{what}, where function returns {y.shape}")
