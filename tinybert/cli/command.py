"""`Command`, and the arguments and checks that several commands share.

The file of a command defines `add_arguments` and `run`, and ends with `COMMAND = Command(...)`;
`registry.py` has one line for each command.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinybert.backend import DeviceError
from tinybert.hub_cache import EMBEDDED, FetchError

# Errors that a user can cause and fix. Any other error is a bug and shows a traceback.
USER_ERRORS = (
    ValueError, OSError, ImportError, MemoryError, FloatingPointError, FetchError, DeviceError,
)  # fmt: skip


@dataclass(frozen=True)
class Command:
    """One command of the command line.

    Attributes:
        details: the description in `--help`, after the summary.
        example: an example with its output, at the end of `--help`.
        add_arguments: declares the arguments.
        run: runs the command and returns the exit code; errors are raised (see `main.py`).
        flags: for error messages, the flags of Python arguments that have another name.
        ranks: whether ranks of `mpiexec` share its work (`on_ranks`); if not, `mpiexec` is refused.
    """

    details: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    flags: Mapping[str, str] = field(default_factory=dict)
    ranks: bool = False


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """Add TEXT ... and --file; `read_texts` reads them."""
    parser.add_argument("text", nargs="*", metavar="TEXT", help="a text in quotes")
    parser.add_argument(
        "--file", metavar="FILE", help="a file with one text per line, - for standard input"
    )


def add_model_argument(parser: argparse.ArgumentParser, default: str | None = EMBEDDED) -> None:
    """Add --model, a folder or a model's name."""
    help = "a model's folder or name" + (f" (default: {default})" if default else "")
    parser.add_argument("--model", metavar="MODEL", default=default, help=help)


def add_device_argument(parser: argparse.ArgumentParser, default: str | None = "cpu") -> None:
    """Add --device."""
    parser.add_argument("--device", default=default, help="cpu (default) or cuda")


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def read_texts(args: argparse.Namespace) -> list[str]:
    """Return the texts of a command: its arguments, then the lines of --file or standard input.

    Standard input is read if no text is given. Blank lines are skipped, with a note on standard
    error. Raises ValueError if there is no text, or the file is not UTF-8.
    """
    texts = list(args.text)
    piped = not texts and args.file is None and not sys.stdin.isatty()
    if args.file is not None or piped:
        lines = _lines("-" if piped else args.file)
        not_blank = [line for line in lines if line.strip()]
        if not_blank and len(not_blank) < len(lines):
            print(f"skipped {len(lines) - len(not_blank)} blank line(s)", file=sys.stderr)
        texts += not_blank
    if not texts:
        raise ValueError("no text given: add TEXT in quotes, use --file FILE, or pipe lines in")
    return texts


def read_file(name: str) -> str:
    """Return the text of a file, or of standard input for -; ValueError if it is not UTF-8."""
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{'standard input' if name == '-' else name}: not UTF-8 text (at byte {error.start})"
        ) from None


def _lines(name: str) -> list[str]:
    lines = read_file(name).split("\n")
    return [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def check_output_file(flag: str, path: Path, suffixes: Sequence[str]) -> None:
    """Raise ValueError if an output file has another suffix, or its folder does not exist.

    Call it before the computation, whose result would be lost.
    """
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{flag} must end in {', '.join(suffixes)}, got {str(path)!r}")
    if not path.parent.is_dir():
        raise ValueError(f"{flag}: the folder {str(path.parent)!r} does not exist")


def optional(module: str, extra: str, purpose: str) -> Any:
    """Import an optional library; the ImportError says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        from tinybert.comparison.outputs import INSTALL

        name = module.partition(".")[0]
        hint = INSTALL if extra == "test" else f'pip install "tinybert[{extra}]"'
        raise ImportError(f"{purpose} needs {name}: {hint}") from error
