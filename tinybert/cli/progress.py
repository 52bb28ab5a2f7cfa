"""A bar for what takes long, where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], object]]:
    """A function to call with each number of bytes done.

    It draws tqdm's bar, on standard error, if that is a terminal and tqdm is installed.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda done: None
        return
    bar = tqdm(
        desc=label, total=total, unit="B", unit_scale=True, leave=False,
        disable=not sys.stderr.isatty(),
    )  # fmt: skip
    with bar:
        yield bar.update
