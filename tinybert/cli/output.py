"""`EscapedOutput`: standard output that no text of others can control."""

from __future__ import annotations

import sys
from typing import IO, Any

from tinybert.display import visible


class EscapedOutput:
    """A stream whose texts show control characters as \\uXXXX; tabs and line ends are kept.

    Names and texts from files could clear the screen of a terminal, hide lines, or imitate others.
    JSON keeps its meaning. `raw` is the stream itself, for colours.
    """

    def __init__(self, raw: IO[str]) -> None:
        self.raw = raw

    def write(self, text: str) -> int:
        """Write a text."""
        return self.raw.write(visible(text, lines=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def console(**options: Any) -> Any:
    """Return a Console of Rich for standard output, which writes colours."""
    from rich.console import Console

    return Console(file=getattr(sys.stdout, "raw", sys.stdout), **options)
