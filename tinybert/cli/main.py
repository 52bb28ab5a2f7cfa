"""`main`: parse the command line, run one command, and report an error in one line."""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from typing import Any, NoReturn

from tinybert import __version__
from tinybert.cli.command import USER_ERRORS
from tinybert.cli.errors import error_line
from tinybert.cli.launch import launched_size, one_voice
from tinybert.cli.output import EscapedOutput
from tinybert.cli.registry import COMMANDS, load_command
from tinybert.cli.terminal import one_line, terminal_width

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
FAILED, INTERRUPTED, CLOSED_PIPE = 2, 130, 141


class Parser(argparse.ArgumentParser):
    """An argument parser that reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(FAILED, f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n")

    def _match_arguments_partial(self, actions: Any, arg_strings_pattern: str) -> list[int]:
        """Leave a last argument such as [TEXT ...] open while options, "O", are still to come.

        Some versions of argparse decide at the first option that it is empty, and then refuse the
        texts after the options.
        """
        counts: list[int] = super()._match_arguments_partial(actions, arg_strings_pattern)
        if counts and counts[-1] == 0 and "O" in arg_strings_pattern:
            counts.pop()
        return counts

    def _print_message(self, message: str, file: Any = None) -> None:
        (file or sys.stderr).write(message)  # argparse's own ignores that a disk is full


def build_parser(selected: str | None) -> Parser:
    """Return the parser of the command line.

    Every command has a subparser; only the one of the `selected` command has its arguments.
    """
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
    for name in COMMANDS:
        subparser = commands.add_parser(name, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == selected:
            _add_command(subparser, name)
    return parser


def _add_command(parser: argparse.ArgumentParser, name: str) -> None:
    command = load_command(name)
    parser.description = _filled(f"{COMMANDS[name]}.\n\n{command.details}")
    parser.epilog = f"example:\n{command.example}"
    command.add_arguments(parser)
    flags = {a.dest: a.option_strings[-1] for a in parser._actions if a.option_strings}
    parser.set_defaults(run=command.run, prog=parser.prog, flags={**flags, **command.flags})
    parser.set_defaults(ranks=command.ranks)


def _filled(text: str) -> str:
    """Wrap paragraphs to the terminal's width.

    A paragraph with indented lines is a list: of terms, each with an explanation that is indented.
    """
    return "\n\n".join(
        "\n".join(map(_wrapped, re.split(r"\n(?! )", part))) if "\n  " in part else _wrapped(part)
        for part in text.split("\n\n")
    )


def _wrapped(text: str, indent: int | None = None) -> str:
    """Wrap one paragraph; the lines after the first are indented as its second line is."""
    first, *more = text.split("\n")
    if indent is None:
        indent = len(more[0]) - len(more[0].lstrip()) if more else 0
    width = min(terminal_width(), 80)
    joined = " ".join([first, *(line.strip() for line in more)])
    return textwrap.fill(
        joined, width, subsequent_indent=" " * min(indent, width // 4), break_on_hyphens=False
    )


def _overview() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            _wrapped(f"tinybert {__version__}: run, inspect and convert BERT-family models."),
            "",
            *(
                _wrapped(f"  tinybert {name:{width}}  {summary}", 4)
                for name, summary in COMMANDS.items()
            ),
            "",
            _wrapped("A model is part of the package; try it:"),
            "",
            '  tinybert similarity "A cat sat." "A kitten was sitting." "Rain again."',
            '  tinybert fill-mask "She opened the [MASK] and walked in."',
            "",
            _wrapped("Options and an example of each command: tinybert COMMAND --help"),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; `argv` is `sys.argv[1:]` if None.

    Returns the exit code: 0 for success, 1 if a comparison found a difference, 2 for an error,
    which is one line on standard error, 130 after Ctrl-C.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the shell, for example with >&-
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (open until the process ends)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # print ? for characters the terminal cannot show
    arguments = sys.argv[1:] if argv is None else list(argv)
    selected = next((word for word in arguments if not word.startswith("-")), None)
    args = argparse.Namespace()
    try:
        try:
            with one_voice():
                args = _parse(selected, arguments)
            if hasattr(args, "run"):
                with redirect_stdout(EscapedOutput(sys.stdout)):
                    code = args.run(args)
            else:
                with one_voice():
                    print(_overview())
                code = 0
        except SystemExit as stop:  # argparse: after --help 0, after an error 2
            code = stop.code if isinstance(stop.code, int) else FAILED
        sys.stdout.flush()  # it fails on a full disk
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, for example `head`, has stopped
        _discard_output()
        return CLOSED_PIPE
    except USER_ERRORS as error:
        print(error_line(error, args), file=sys.stderr)
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            _discard_output()
        return FAILED


def _discard_output() -> None:
    """Drop what could not be written to standard output; Python would try again at its end."""
    with suppress(OSError):  # of a standard output without a file descriptor, as in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(selected: str | None, arguments: list[str]) -> argparse.Namespace:
    """Parse the arguments; an unknown command is an error that names the nearest one.

    So is `mpiexec` with a command that does not divide its work among ranks.
    """
    parser = build_parser(selected)
    if selected is not None and selected not in COMMANDS:
        nearest = difflib.get_close_matches(selected, COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else f"choose from {', '.join(COMMANDS)}"
        parser.error(f"there is no command {selected!r}: {hint}")
    args = parser.parse_args(arguments)
    ranks = launched_size() or 1
    if ranks > 1 and not getattr(args, "ranks", True):
        parser.exit(
            FAILED, f"{args.prog} runs on one process, not on {ranks}: start it without mpiexec\n"
        )
    return args
