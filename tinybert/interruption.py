"""Ctrl-C while the command line is imported prints one line, as it does later (`cli/main.py`)."""

from __future__ import annotations

import os
import sys
from types import TracebackType


def is_command_line() -> bool:
    """Return whether this process runs `tinybert` or `python -m tinybert`."""
    script = os.path.splitext(os.path.basename(sys.argv[0]))[0] if sys.argv else ""
    words = sys.orig_argv
    module = words[words.index("-m") + 1 :][:1] if "-m" in words else []
    return script == "tinybert" or module == ["tinybert"]


def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught exception: a `sys.excepthook`."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if is_command_line():
    sys.excepthook = report
