"""`progress_bar`: a progress bar on standard error, with tqdm if it is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    label: str, total: int, unit: str, shown: bool | None = None
) -> Iterator[Callable[..., object]]:
    """Yield a function to call with the number of units done, and a note to show if there is one.

    shown: whether to show the bar; None: if standard error is a terminal.
    """
    if shown is None:
        shown = sys.stderr.isatty()
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda done, note=None: None
        return
    with tqdm(
        desc=label, total=total, unit=unit, unit_scale=True, leave=False, disable=not shown
    ) as bar:

        def advance(done: int, note: str | None = None) -> None:
            if note is not None:
                bar.set_postfix_str(note, refresh=False)
            bar.update(done)

        yield advance
