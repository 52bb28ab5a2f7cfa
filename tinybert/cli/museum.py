"""`tinybert museum`: famous bugs, planted in the engine, and what catches them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from tinybert.cli.command import Command, add_json_argument
from tinybert.cli.terminal import (
    columns_of,
    print_json,
    shorten,
    table,
    terminal_width,
    wrap,
)
from tinybert.learn.museum.bugs import Bug, find_bug, rooms
from tinybert.learn.museum.excerpt import excerpt
from tinybert.learn.museum.visit import Visit, claim, visit

ACTIONS = ("list", "show", "run")

DETAILS = """\
Each bug comes from the issues of a real library, paper or tutorial.
list    names them by subject (the default).
show    prints what is wrong, the right and the wrong code, how it was
        found, and a link.
run     computes a symptom without the bug and with it, on a small model, and
        runs the check that catches it. Some bugs also have a check that they
        fool: with it alone, nothing seems wrong.

In Python, `with tinybert.bug("NAME"):` plants a bug for the code in the block;
after it the engine is right again."""

EXAMPLE = """\
  $ tinybert museum
  $ tinybert museum show zero-softmax-backward

  $ tinybert museum run embedding-loses-repeats
  embedding-loses-repeats: words that occur twice are counted once

  gradient of a word that occurs three times
    right     3
    with bug  1

  A word that occurs three times collects three gradients.
    right     passes
    with bug  fails: three occurrences with gradient 1 gave 1, not 3

  Words that occur once each collect one gradient each.
    with bug  passes: this check does not see the bug

  $ tinybert museum run --all"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action, NAME and --all."""
    parser.add_argument(
        "action", nargs="?", choices=ACTIONS, default="list", help="what to do (default: list)"
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="for show, run: the bug's name")
    parser.add_argument("--all", action="store_true", help="for run: every bug, as a table")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """List the bugs, show one, or run one or all."""
    if args.all and args.action != "run":
        raise ValueError(f"--all is an option of run, not of {args.action}")
    if args.action == "list" or args.all:
        if args.name is not None:
            raise ValueError(f"{args.action} takes no NAME here, got {args.name!r}")
        return _run_all(args.json) if args.all else _list(args.json)
    if args.name is None:
        raise ValueError(f"{args.action} needs the NAME of a bug; see tinybert museum list")
    bug = find_bug(args.name)
    return _run(bug, args.json) if args.action == "run" else _show(bug, args.json)


# --- list -----------------------------------------------------------------------------------------


def _list(json: bool) -> int:
    if json:
        print_json({subject: [_head(bug) for bug in bugs] for subject, bugs in rooms().items()})
        return 0
    width = terminal_width()
    longest = max(len(bug.name) for bug in _all())
    for subject, bugs in rooms().items():
        print(subject)
        for bug in bugs:
            print(_shortened(f"  {bug.name:{longest}}  {bug.title}", width))
        print()
    _print_wrapped(
        f"{len(_all())} bugs. tinybert museum show NAME tells the story of one, "
        "tinybert museum run NAME plants it."
    )
    return 0


def _shortened(line: str, width: int) -> str:
    """Return an indented line of at most `width` columns."""
    indent = len(line) - len(line.lstrip())
    if columns_of(line) <= width:
        return line
    return line[:indent] + shorten(line[indent:], width - indent)


def _all() -> list[Bug]:
    return [bug for bugs in rooms().values() for bug in bugs]


def _head(bug: Bug) -> dict[str, str]:
    return {"name": bug.name, "title": bug.title, "mistake": bug.mistake}


# --- show -----------------------------------------------------------------------------------------


def _show(bug: Bug, json: bool) -> int:
    lines = excerpt(bug)
    if json:
        code: dict[str, Any] = {
            side: [line.text for line in lines if line.side == side] for side in ("right", "wrong")
        }
        checks = {"check": claim(bug.check), "fooled": bug.fooled and claim(bug.fooled)}
        targets = [patch.target for patch in bug.patches]
        told = {"story": bug.story, "links": list(bug.links)}
        print_json({**_head(bug), "targets": targets, **code, **checks, **told})
        return 0
    print(f"{bug.name}: {bug.title}\n")
    _print_wrapped(bug.mistake)
    print(f"\n{bug.patches[0].target}")
    for side, text in lines:
        print(f"  {side:5}  {text}".rstrip())
    print()
    _print_wrapped(bug.story)
    print(f"\n{'What catches it':15}  ", end="")
    _print_wrapped(claim(bug.check), 17)
    if bug.fooled:
        print(f"{'What it fools':15}  ", end="")
        _print_wrapped(claim(bug.fooled), 17)
    print("\n" + "\n".join(bug.links))
    print(f"\nTry it: tinybert museum run {bug.name}")
    return 0


def _print_wrapped(text: str, indent: int = 0) -> None:
    """Print a text that begins at a column, and its further lines below it."""
    lines = wrap(text.split(), terminal_width() - indent)
    print(("\n" + " " * indent).join(lines))


# --- run ------------------------------------------------------------------------------------------


def _run(bug: Bug, json: bool) -> int:
    found = visit(bug)
    if json:
        print_json(_as_data(bug, found))
        return 0 if found.succeeded else 1
    print(f"{bug.name}: {bug.title}\n")
    print(bug.measured)
    print(f"  right     {found.before}\n  with bug  {found.planted}\n")
    _print_wrapped(claim(bug.check))
    for line in _verdicts(found):
        print("  " + line[:10], end="")
        _print_wrapped(line[10:], 12)
    if bug.fooled:
        print()
        _print_wrapped(claim(bug.fooled))
        seen = (
            f"fails: {found.fooled}" if found.fooled else "passes: this check does not see the bug"
        )
        print(f"  with bug  {seen}")
    return 0 if found.succeeded else 1


def _verdicts(found: Visit) -> Iterator[str]:
    for when, complaint in (("right", found.false_alarm), ("with bug", found.caught)):
        yield f"{when:8}  " + (f"fails: {complaint}" if complaint else "passes")


def _run_all(json: bool) -> int:
    bugs = _all()
    visits = [visit(bug) for bug in bugs]
    if json:
        print_json([_as_data(*pair) for pair in zip(bugs, visits, strict=True)])
    else:
        _print_table(bugs, visits)
    return 0 if all(found.succeeded for found in visits) else 1


def _print_table(bugs: Sequence[Bug], visits: Sequence[Visit]) -> None:
    rows = [
        [
            bug.name,
            shorten(found.before, 16),
            shorten(found.planted, 16),
            "caught" if found.succeeded else "NOT AS TOLD",
        ]
        for bug, found in zip(bugs, visits, strict=True)
    ]
    print("\n".join(table(["bug", "right", "with bug", "check"], rows, "lrrl")))
    caught = sum(found.succeeded for found in visits)
    print(f"\n{caught} of {len(bugs)} bugs changed their symptom and were caught by their check")


def _as_data(bug: Bug, found: Visit) -> dict[str, Any]:
    return {
        "name": bug.name,
        "measured": bug.measured,
        "symptom": {"right": found.before, "with_bug": found.planted},
        "check": {"claim": claim(bug.check), "right": found.false_alarm, "with_bug": found.caught},
        "fooled": bug.fooled and {"claim": claim(bug.fooled), "with_bug": found.fooled},
        "as_told": found.succeeded,
    }


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
