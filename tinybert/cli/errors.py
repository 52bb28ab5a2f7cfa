"""An error as one line, with the user's own flags."""

from __future__ import annotations

import argparse
import re

from tinybert.cli.terminal import one_line
from tinybert.display import visible


def error_line(error: BaseException, args: argparse.Namespace, where: str = "") -> str:
    """Return the line that reports an error of a command: its name, `where`, the message."""
    name = getattr(args, "prog", "tinybert")
    return visible(f"{name}: {where}{_with_flags(error_message(error), args)}")


def error_message(error: BaseException) -> str:
    """Return the message of an error in one line."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    if isinstance(error, MemoryError):
        return f"not enough memory ({error})" if str(error) else "not enough memory"
    return one_line(str(error)) or type(error).__name__


def _with_flags(message: str, args: argparse.Namespace) -> str:
    """Replace the names of Python arguments in a message by the flags of the command.

    Only options with a value are replaced, and a name without an underscore only at the beginning,
    before "must be".
    """
    for name, flag in getattr(args, "flags", {}).items():
        if getattr(args, flag.lstrip("-").replace("-", "_"), None) is not None:
            pattern = rf"(?<![\w./-]){name}(?![\w./])" if "_" in name else rf"^{name}(?= must be )"
            message, found = re.subn(pattern, flag, message)
            message = message.replace(" or None,", ",") if found else message
    if re.match(r"input_ids must be from 0 to \d+, got \d+$", message):
        message += ": the tokenizer has more tokens than the model; use the model's own tokenizer"
    return message
