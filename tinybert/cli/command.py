"""`Command`: what a command is, and the arguments that several commands share.

A command's file defines `add_arguments` and `run`, and ends with `COMMAND = Command(...)`;
`registry.py` lists them.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinybert.fetch import model_folder


@dataclass(frozen=True)
class Command:
    """One command of the command line.

    Attributes:
        name, summary: the word that is typed, and one line for the overview.
        details: what `--help` says beyond the summary.
        example: a worked example with its output, for the end of `--help`.
        add_arguments: declares the arguments.
        run: does the work and returns the exit code; errors are raised (see `main.py`).
        spellings: what errors call an option, where that is not its own name, and its flag.
    """

    name: str
    summary: str
    details: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    spellings: Mapping[str, str] = field(default_factory=dict)


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """TEXT ... and --file: where texts come from; `read_texts` reads them."""
    parser.add_argument("text", nargs="*", metavar="TEXT", help="a text; quote it")
    parser.add_argument(
        "--file", metavar="FILE", help="a text a line; - is standard input, also the default"
    )


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """--model: a folder, or minilm; `model_folder` finds it."""
    parser.add_argument(
        "--model", metavar="FOLDER", default="minilm", help="a model's folder (default: minilm)"
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """--device."""
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:1")


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def read_texts(args: argparse.Namespace) -> list[str]:
    """The texts of a command: its arguments, then the lines of --file; else of standard input.

    Blank lines are left out, which is said on standard error, since lines are counted then.
    Raises ValueError if there are no texts, or the file is not UTF-8.
    """
    texts = list(args.text)
    piped = not texts and args.file is None and not sys.stdin.isatty()
    if args.file is not None or piped:
        lines = _lines("-" if piped else args.file)
        full = [line for line in lines if line.strip()]
        if full and len(full) < len(lines):
            print(f"{len(lines) - len(full)} blank line(s) left out", file=sys.stderr)
        texts += full
    if not texts:
        raise ValueError("no text given: add one in quotes, --file FILE, or pipe lines in")
    return texts


def read_file(name: str) -> str:
    """The text of a file, or for - of standard input; ValueError if it is not UTF-8."""
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


def folder_or_file(name: str) -> Path:
    """The path of a file, or what `model_folder` makes of the name."""
    path = Path(name).expanduser()
    return path if path.is_file() else model_folder(name)


def optional(module: str, extra: str, purpose: str) -> Any:
    """Import a library that tinybert can do without; ImportError says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        pinned = " -c constraints.txt" if extra == "test" else ""  # a bare torch draws gigabytes
        hint = f'pip install "tinybert[{extra}]"{pinned}'
        raise ImportError(f"{purpose} needs {name}: {hint}") from error
