"""`tinybert learn`: the front door. What is here, how long it takes, where you stopped."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from tinybert.cli.command import Command, add_json_argument
from tinybert.cli.terminal import print_json
from tinybert.columns import columns_of, pad
from tinybert.learn import progress
from tinybert.learn.catalogue import NAMES, task_of
from tinybert.learn.terminal import pages
from tinybert.learn.terminal.checking import standard_page
from tinybert.trace.terminal.look import Line

DETAILS = """\
Shows three learning paths, how long they take, and where you stopped: build the
engine in exercises, run pretrained models, read the maths in lessons. It asks
nothing and changes nothing."""

EXAMPLE = """\
  $ tinybert learn --folder my-exercises
  ...
  1  Build the engine: 63 exercises, about 14 hours
     12 done; next is loss/softmax_backward, about 12 minutes"""

# The commands of two learning paths, with what they do.
RUN_MODELS = (
    ('tinybert similarity "A cat sat." "A kitten slept."', "do they mean the same?"),
    ('tinybert fill-mask "Paris is the [MASK] of France."', "which word fits?"),
    ("tinybert demo list", "short scripts to run"),
    ("tinybert --help", "all commands"),
)
READ = (
    ("tinybert tutorials list", "formulas and code"),
    ('tinybert step "The cat sat."', "every step of a model"),
    ("tinybert museum", "famous bugs to try out"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --folder and --json."""
    parser.add_argument(
        "--folder", metavar="FOLDER", help=f"of your exercises (default: here, {progress.FOLDER})"
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the page."""
    found = _summary(args.folder)
    if args.json:
        print_json(found)
        return 0
    page = standard_page()
    page.say("tinybert: a deep-learning engine to read, to run and to build again.", "bold")
    page.say("Three learning paths, in any order.")
    page.say("")
    page.say(f"1  Build the engine: {found['exercises']} exercises, about {found['time']}", "bold")
    page.say(f"   {_position(found)}")
    page.show(_commands([("tinybert exercises" + found["action"], found["what"])], page.width))
    page.say("")
    page.say("2  Run pretrained models: 5 minutes for a first look", "bold")
    page.show(_commands(RUN_MODELS, page.width))
    page.say("")
    page.say("3  Read the maths: 20 minutes for a lesson", "bold")
    page.show(_commands(READ, page.width))
    return 0


def _summary(given: str | None) -> dict[str, Any]:
    """Return the size of the course, what is done of it, and what comes next."""
    minutes = pages.hours(pages.all_minutes())
    begin = {"exercises": len(NAMES), "time": minutes, "done": 0, "next": NAMES[0]}
    try:
        course = progress.load(progress.find_folder(given))
    except progress.NoCourse:
        if given is not None:
            raise
        return {**begin, "folder": None, "action": " start", "what": "makes your folder"}
    names = course.names
    minutes = pages.hours(sum(task_of(name).exercise.minutes for name in names))
    return {
        "exercises": len(names),
        "time": minutes,
        "done": sum(course[name].is_done for name in names),
        "next": course.following(),
        "folder": str(course.folder),
        "action": "",
        "what": "goes on from there",
    }


def _position(found: dict[str, Any]) -> str:
    if found["folder"] is None:
        return "Write each part yourself; a check tells you which mistake you made."
    if found["next"] is None:
        return "All are done."
    minutes = task_of(found["next"]).exercise.minutes
    return f"{found['done']} done; next is {found['next']}, about {minutes} minutes"


def _commands(rows: Sequence[tuple[str, str]], width: int) -> list[Line]:
    """Return commands and what they do: in one line each, or below each other."""
    longest = max(columns_of(command) for command, _ in RUN_MODELS)
    lines: list[Line] = []
    for command, what in rows:
        if 3 + longest + 2 + columns_of(what) <= width:
            lines.append([("   ", ""), (pad(command, longest + 2), "36"), (what, "")])
        else:
            lines += [[("   ", ""), (command, "36")], [(f"     {what}", "")]]
    return lines


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
