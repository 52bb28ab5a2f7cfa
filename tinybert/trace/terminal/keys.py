"""`read_keys`: the keys that are pressed in a terminal, on POSIX (termios) and Windows (msvcrt)."""

from __future__ import annotations

import codecs
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

READ = 1024  # bytes at once, such as of a text that is pasted
ESCAPES = {  # what a terminal sends after the escape character
    "[A": "up", "[B": "down", "[C": "right", "[D": "left",
    "OA": "up", "OB": "down", "OC": "right", "OD": "left",
}  # fmt: skip
NAMES = {"\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace"}
WINDOWS_ARROWS = {"H": "up", "P": "down", "M": "right", "K": "left"}

Read = Callable[[float], list[str]]


def decode(text: str) -> list[str]:
    """Return the keys in what a terminal sent: characters, and names for the others."""
    keys, place = [], 0
    while place < len(text):
        character = text[place]
        place += 1
        if character != "\x1b":
            keys.append(NAMES.get(character, character))
        elif text[place : place + 1] in ("[", "O"):
            end = place + 1
            while end < len(text) and not text[end].isalpha() and text[end] != "~":
                end += 1
            keys.append(ESCAPES.get(text[place : end + 1], ""))
            place = end + 1
        else:
            keys.append("escape")
    return [key for key in keys if key]


@contextmanager
def read_keys() -> Iterator[Read]:
    """Give a function that waits for keys for some seconds, and returns those that were pressed.

    In the block keys are not echoed and arrive at once; Ctrl-C still raises KeyboardInterrupt. The
    modes of the terminal are restored at the end.
    """
    if sys.platform == "win32":
        yield _read_windows
        return
    import select
    import termios
    import tty

    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(seconds: float) -> list[str]:
        if not select.select([file], [], [], seconds)[0]:
            return []
        sent = os.read(file, READ)
        if not sent:  # the terminal is gone
            raise EOFError
        return decode(decoder.decode(sent))

    try:
        tty.setcbreak(file)
        modes = termios.tcgetattr(file)
        modes[6][termios.VSUSP] = b"\0"  # Ctrl-Z would leave a shell in the middle of the picture
        termios.tcsetattr(file, termios.TCSANOW, modes)
        yield read
    finally:
        termios.tcsetattr(file, termios.TCSAFLUSH, before)


def _read_windows(seconds: float) -> list[str]:
    import msvcrt

    until = time.monotonic() + seconds
    while not msvcrt.kbhit():  # type: ignore[attr-defined,unused-ignore]
        if time.monotonic() > until:
            return []
        time.sleep(0.02)
    key = msvcrt.getwch()  # type: ignore[attr-defined,unused-ignore]
    if key in "\0\xe0":
        arrow = WINDOWS_ARROWS.get(msvcrt.getwch())  # type: ignore[attr-defined,unused-ignore]
        return [arrow] if arrow else []
    if key == "\x03":
        raise KeyboardInterrupt
    return decode(key)
