"""`show`: the loop of keys and screens, which leaves the terminal as it was."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tinybert.trace.terminal.keys import read_keys
from tinybert.trace.terminal.look import Look
from tinybert.trace.terminal.render import render
from tinybert.trace.terminal.session import Session

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # the alternate screen, no cursor, no wrapping of lines
LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
WAIT = 0.2  # seconds for a key, then the size of the terminal is asked again
STOPS = ("SIGTERM", "SIGHUP")


def show(session: Session, output: TextIO) -> None:
    """Draw the session and press the user's keys in it until it is done."""
    look = Look.of(os.environ, output.encoding or "ascii")
    with stops_raise(), read_keys() as read, alternate_screen(output):
        drawn: list[str] = []
        size = None
        while not session.done:
            if size != (size := shutil.get_terminal_size()):
                drawn = []
            lines = render(session, size.columns, size.lines, look)
            _draw(output, lines, drawn)
            drawn = lines
            try:
                keys = read(WAIT)
            except EOFError:
                return
            for key in keys:
                session.press(key)


def _draw(output: TextIO, lines: list[str], drawn: list[str]) -> None:
    """Write the lines that differ from those that are drawn."""
    text = "" if drawn else "\x1b[2J"
    for row, line in enumerate(lines):
        if not drawn or drawn[row] != line:
            text += f"\x1b[{row + 1};1H{line}"
    output.write(text)
    output.flush()


@contextmanager
def alternate_screen(output: TextIO) -> Iterator[None]:
    """Use the terminal's second screen in the block."""
    if sys.platform == "win32":
        os.system("")  # makes the console of Windows obey escape sequences
    try:
        output.write(ENTER)
        output.flush()
        yield
    finally:
        output.write(LEAVE)
        output.flush()


@contextmanager
def stops_raise() -> Iterator[None]:
    """Let signals that end the process raise SystemExit in the block, so that it is left."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in STOPS if hasattr(signal, name)]
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
