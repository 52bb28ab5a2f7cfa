"""What the tests of the command line share: running a command in this process."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tinybert.cli.main import main


class Ran(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


@pytest.fixture
def tinybert(capsys, monkeypatch) -> Callable[..., Ran]:
    """Run `tinybert ARGUMENTS` with `stdin` piped into it, in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main([str(argument) for argument in arguments])
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(tinybert) -> Callable[..., str]:
    """Run a command that must fail as all do: code 2, one line on standard error, nothing else."""

    def run(*arguments: object, stdin: bytes = b"") -> str:
        ran = tinybert(*arguments, stdin=stdin)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.count("\n") == 1
        assert "Traceback" not in ran.err
        return ran.err

    return run
