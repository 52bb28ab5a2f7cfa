"""Chat templates run in a process of their own, with limits.

A template is a program from a file that is not trusted. Jinja2's sandbox keeps it from files and
from Python's internals, but not from endless loops or texts of gigabytes. So it runs in a second
Python process, see `template_worker.py`, with `SECONDS` of time and, on Linux, `MEMORY` bytes of
memory; there the process also cannot write files. What it returns has at most `FREE_CHARACTERS`
characters and `GROWTH` times those of the conversation. Windows and macOS limit only time and
characters.

The process starts with the first conversation (about 0.1 s) and waits for more; one that exceeds a
limit is ended, and the next conversation gets a new one.
"""

from __future__ import annotations

import atexit
import importlib.util
import marshal
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from tinybert.display import short_repr
from tinybert.tokenizers.template_worker import read_message, write_message

SECONDS = 10
MEMORY = 1 << 30  # bytes; Python with Jinja2 takes about 50 million
FREE_CHARACTERS, GROWTH = 1_000_000, 10
MAX_DEPTH = 100  # of lists and dicts in a conversation

_waiting: list[Worker] = []  # processes without work


class Worker:
    """A process that runs templates, one at a time."""

    def __init__(self) -> None:
        if getattr(sys, "frozen", False) or not sys.executable:
            raise OSError("a chat template needs a second Python process; there is no Python here")
        script = Path(__file__).with_name("template_worker.py")
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(script), *filter(None, sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.requests, self.answers = self.process.stdin, self.process.stdout

    def ask(self, request: bytes, most: int) -> bytes:
        """Return the answer to a request, at most `most` bytes.

        Raises ValueError if the process ends without one.
        """
        with suppress(BrokenPipeError):  # then there is no answer either
            write_message(self.requests, request)
        answer = read_message(self.answers, most)
        if answer is None:
            raise ValueError(f"it takes over {SECONDS} seconds, or crashes its process")
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        with suppress(OSError):  # what was not written is lost
            self.requests.close()
        self.answers.close()
        self.process.wait()


def run_template(template: str, variables: Mapping[str, Any]) -> str:
    """Return the text that a template gives.

    Arguments:
        variables: dicts, lists, tuples, sets, text, numbers and None.

    Raises ImportError if Jinja2 is missing, TypeError for a variable of another type, OSError if no
    process can be started, ValueError if the template is damaged, raises an error, or exceeds a
    limit.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise ImportError('chat templates need Jinja2: pip install "tinybert[chat]"')
    request: dict[str, Any] = {"template": template, "seconds": SECONDS, "memory": MEMORY}
    request["variables"] = {name: _plain(name, value, 0) for name, value in variables.items()}
    characters = FREE_CHARACTERS + GROWTH * len(marshal.dumps(request["variables"]))
    request["characters"] = characters
    answer = _answer(marshal.dumps(request), 4 * characters + 1)
    text = answer[1:].decode("utf-8", "surrogatepass")
    if not answer[0]:
        raise ValueError(text)
    return text


def _answer(request: bytes, most: int) -> bytes:
    try:
        worker = _waiting.pop()
    except IndexError:  # none, or another thread was faster
        worker = Worker()
    if worker.process.poll() is not None:  # it was ended by another program
        worker.close()
        worker = Worker()
    try:
        answer = worker.ask(request, most)
    except BaseException:  # also Ctrl-C: the process is still at work
        worker.close()
        raise
    _waiting.append(worker)
    return answer


def _plain(name: str, value: Any, depth: int) -> Any:
    """Return a value made of Python's own types, which the other process has too."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        return {
            _plain(name, key, depth + 1): _plain(name, member, depth + 1)
            for key, member in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)) and depth < MAX_DEPTH:
        kind = next(k for k in (list, tuple, set, frozenset) if isinstance(value, k))
        return kind(_plain(name, member, depth + 1) for member in value)
    raise TypeError(
        f"{'conversation' if name == 'messages' else name} must consist of dicts, lists, text and "
        f"numbers, at most {MAX_DEPTH} deep, for a chat template; got {short_repr(value)}"
    )


def _close_all() -> None:
    while _waiting:
        _waiting.pop().close()


def _forget_all() -> None:
    """In a process made by fork: the processes belong to its parent."""
    for worker in _waiting:
        worker.process.returncode = 0  # it cannot be waited for here
        worker.requests.close()
        worker.answers.close()
    _waiting.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
