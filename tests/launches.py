"""Counts of what a GPU would be asked: launches of kernels, and waits of the host for a result.

The strict double notes every operation here. The numbers are those of CuPy 14: one launch for an
elementwise operation, a reduction, a product, a copy or a memory set; more where CuPy's own
function launches several (`SEVERAL`); none for a view or for `empty`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

# CuPy's functions that launch more than one kernel, and about how many. Libraries that they call
# (thrust for sorting, cuFFT) launch a number of their own that depends on the size.
SEVERAL = {
    "argsort": 3, "sort": 2, "lexsort": 3, "cumsum": 2, "nonzero": 4, "unique": 8, "bincount": 3,
    "var": 2, "linspace": 2, "tri": 2, "tril": 2, "triu": 2, "eye": 2, "roll": 2, "pad": 2,
    "tile": 2, "isin": 6, "searchsorted": 1, "tensordot": 3, "einsum": 4, "mean": 1,
}  # fmt: skip
# Functions whose result is a view of their argument, or memory that is not written to.
VIEWS = {
    "broadcast_to", "expand_dims", "moveaxis", "split", "empty", "empty_like", "real", "imag",
}  # fmt: skip

launches: Counter[str] = Counter()
waits: Counter[str] = Counter()


def launched(name: str, number: int | None = None) -> None:
    """Note the launches of one operation."""
    launches[name] += SEVERAL.get(name, 1) if number is None else number


def waited(name: str) -> None:
    """Note that the host waited for the device."""
    waits[name] += 1


class Counts:
    """What happened inside `counting()`.

    Attributes:
        launches, waits: numbers by the name of the operation.
    """

    def __init__(self) -> None:
        self.launches: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()


@contextmanager
def counting() -> Iterator[Counts]:
    """Count the launches and waits of a block: `with counting() as counts: ...`."""
    before = launches.copy(), waits.copy()
    counts = Counts()
    yield counts
    counts.launches.update(launches - before[0])
    counts.waits.update(waits - before[1])
