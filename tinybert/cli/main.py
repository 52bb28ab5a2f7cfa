"""`main`: reads the command line, runs one command, and turns what went wrong into one line."""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import NoReturn

from tinybert import __version__
from tinybert.backend import DeviceError
from tinybert.cli.command import Command
from tinybert.cli.registry import COMMANDS
from tinybert.cli.terminal import one_line, terminal_width
from tinybert.fetch import FetchError

# What a user can cause and cure; anything else is a fault of this program and shows a traceback.
USER_ERRORS = (ValueError, OSError, ImportError, MemoryError, FetchError, DeviceError)
FAILED, INTERRUPTED, CLOSED_PIPE = 2, 130, 141


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(FAILED, f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n")


def build_parser() -> Parser:
    """The parser of the command line, with one sub-parser a command."""
    parser = Parser(
        prog="tinybert",
        usage="tinybert COMMAND ...",
        description=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    version = f"tinybert {__version__}"
    parser.add_argument("--version", action="version", version=version, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(prog="tinybert", metavar="COMMAND", help=argparse.SUPPRESS)
    for command in COMMANDS:
        _add(commands, command)
    return parser


def _add(commands: argparse._SubParsersAction, command: Command) -> None:
    parser = commands.add_parser(
        command.name,
        description=f"{command.summary}.\n\n{_filled(command.details)}",
        epilog=f"example:\n{command.example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    flags = {a.dest: a.option_strings[-1] for a in parser._actions if a.option_strings}
    parser.set_defaults(run=command.run, prog=parser.prog, flags={**flags, **command.spellings})


def _filled(text: str) -> str:
    """Paragraphs in lines that fit the terminal; indented ones, which are tables, as they are."""
    width = min(terminal_width(), 80)
    return "\n\n".join(
        part if "\n  " in part else textwrap.fill(part, width) for part in text.split("\n\n")
    )


def _overview() -> str:
    width = max(len(command.name) for command in COMMANDS)
    return "\n".join(
        [
            f"tinybert {__version__}: an engine small enough to read, that runs real weights.",
            "",
            *(f"  tinybert {c.name:{width}}  {c.summary}" for c in COMMANDS),
            "",
            "First, bring a real model (91 MB), then ask it something:",
            "",
            "  tinybert fetch minilm",
            '  tinybert similarity "A cat sat." "A kitten was sitting." "Rain again."',
            "",
            "More about a command: tinybert COMMAND --help",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; `argv` is `sys.argv[1:]` if None.

    Returns the exit code: 0, 1 where a command says no (`compare` found a difference), 2 for an
    error, which is one line on standard error, 130 after Ctrl-C.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the shell, as by >&-
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (lives as the process does)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows ?
    name, args = "tinybert", argparse.Namespace()
    try:
        args = build_parser().parse_args(argv)
        name = getattr(args, "prog", name)
        if not hasattr(args, "run"):
            print(_overview())
            return 0
        code = args.run(args)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse: after --help 0, after an error 2
        return stop.code if isinstance(stop.code, int) else FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except USER_ERRORS as error:
        print(f"{name}: {_in_flags(_message(error), args)}", file=sys.stderr)
        return FAILED


def _message(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    if isinstance(error, MemoryError):
        return f"not enough memory ({error})" if str(error) else "not enough memory"
    return one_line(str(error)) or type(error).__name__


def _in_flags(message: str, args: argparse.Namespace) -> str:
    """The message with flags in the place of the names that options have in Python.

    Only options that have a value are meant, and a plain word only where it is what "must be".
    """
    for name, flag in getattr(args, "flags", {}).items():
        if getattr(args, flag.lstrip("-").replace("-", "_"), None) is not None:
            pattern = rf"(?<![\w./-]){name}(?![\w./])" if "_" in name else rf"^{name}(?= must be )"
            message, found = re.subn(pattern, flag, message)
            message = message.replace(" or None,", ",") if found else message
    if re.match(r"input_ids must be from 0 to \d+, got \d+$", message):
        message += ": the tokenizer has more tokens than the model, so it belongs to another"
    return message
