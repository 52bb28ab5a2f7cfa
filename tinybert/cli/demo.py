"""`tinybert demo`: short scripts that use the package, listed and run."""

from __future__ import annotations

import argparse
import runpy
import sys

from tinybert.cli.command import Command, add_json_argument
from tinybert.cli.terminal import print_json, table
from tinybert.learn.demos import DEMOS, script_of

DETAILS = """\
list  shows the demos, in the order in which to run them (the default).
run   runs the demo NAME, and says where its script is, for you to read.

Nothing is downloaded: the demos use the model of the package, or train a small
one. Their files are temporary."""

EXAMPLE = """\
  $ tinybert demo list
  $ tinybert demo run masked-words
  the capital of france is [MASK].
    0.03  france
    0.02  paris
  ..."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action, NAME and --json."""
    parser.add_argument(
        "action", choices=("list", "run"), nargs="?", default="list", help="(default: list)"
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="for run: the demo's name")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """List the demos, or run one."""
    if args.action == "list":
        if args.name is not None:
            raise ValueError(f"demo list takes no NAME, got {args.name!r}")
        return _list(args.json)
    if args.name is None:
        raise ValueError("demo run needs the NAME of a demo; see tinybert demo list")
    if args.json:
        raise ValueError("--json is an option of list, not of run")
    script = script_of(args.name)
    runpy.run_path(str(script), run_name="__main__")
    print(f"\nscript: {script}", file=sys.stderr)
    return 0


def _list(as_json: bool) -> int:
    if as_json:
        print_json([{"name": n, "title": t, "script": str(script_of(n))} for n, t in DEMOS.items()])
        return 0
    print("\n".join(table(["demo", "what it does"], [[*row] for row in DEMOS.items()], "ll")))
    print("\n`tinybert demo run NAME` runs one.")
    return 0


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
