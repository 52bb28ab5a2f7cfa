"""Files that are not trusted: only regular files are opened, small ones are read up to a size."""

from __future__ import annotations

import io
import itertools
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinybert.doctor import diagnose_json

MAX_BYTES = 16 << 20  # of a configuration; a normal one has a few kilobytes
MAX_NESTING = 100  # lists and dicts inside each other; a normal configuration has three

_VERBS = ("does ", "has ", "holds ", "is ", "lacks ", "must ", "refers ", "was ")


class FileError(ValueError):
    """A file cannot be used. The message names the file and the fault.

    Attributes:
        path: the file or folder, as a string.
        fault: what is wrong with it, in one line: "is truncated", or "bad header".
    """

    def __init__(self, path: str | os.PathLike[str], fault: str) -> None:
        self.path = os.fspath(path)
        self.fault = fault
        super().__init__(self.path, fault)

    def __str__(self) -> str:
        return f"{self.path}{' ' if self.fault.startswith(_VERBS) else ': '}{self.fault}"


def open_regular(
    path: str | os.PathLike[str], error: Callable[..., Exception] = FileError
) -> io.FileIO:
    """Open a file for unbuffered reading. Raises `error` unless it is a regular file.

    Pipes and devices are not opened, even if one replaces the file after the check: opening a pipe
    waits for a writer, and reading a device may never end.
    """
    if stat.S_ISREG(os.stat(path).st_mode):
        file = open(path, "rb", buffering=0, opener=_open_at_once)  # noqa: SIM115 (returned)
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
    raise error(path, "is not a regular file")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_regular(
    path: str | os.PathLike[str], most: int = MAX_BYTES, error: Callable[..., Exception] = FileError
) -> bytes:
    """Return the content of a regular file. Raises `error` if it has over `most` bytes."""
    with io.BufferedReader(open_regular(path, error)) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise error(path, f"{size} bytes are too many; at most {most} are allowed")
        return file.read(size)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises FileError, naming the file and the fault."""
    raw = read_regular(path)
    try:
        value = json.loads(raw.decode("utf-8"))
        check_nesting(value)
    except (ValueError, RecursionError) as error:
        raise FileError(path, diagnose_json(path, error)) from error
    if not isinstance(value, dict):
        raise FileError(path, f"expected a JSON object, got {type(value).__name__}")
    return value


def check_nesting(value: Any, most: int = MAX_NESTING) -> None:
    """Raise ValueError if lists and dicts are nested more than `most` deep.

    What handles such a value after it was read may use the stack.
    """
    level = [value]
    for _ in range(most + 1):
        level = [inner for inner in level if isinstance(inner, (list, dict))]
        if not level:
            return
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = list(itertools.chain.from_iterable(parts))
    raise ValueError(f"lists and objects are nested over {most} deep")
