"""`tinybert exercises`: write parts of the engine yourself; a check says what is wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinybert.cli.command import Command, add_json_argument
from tinybert.cli.terminal import print_json
from tinybert.display import visible
from tinybert.learn import course, progress
from tinybert.learn.catalogue import NAMES, task_of
from tinybert.learn.terminal import pages
from tinybert.learn.terminal.checking import (
    Page,
    check_one,
    show_check,
    show_check_all,
    standard_page,
)

DETAILS = """\
Each exercise is a file with one part of the engine left out. You write it; a
check runs your file and says what is wrong: the first wrong number, your line,
and if your result is that of a known mistake, which one. Without an action it
shows the exercise that comes next.

start      makes the files, in --folder; yours are never overwritten
next       shows an exercise: what is asked, file, minutes, lesson
check      checks a file, and says which mistake you made; exit code 0 if it
           passes, 1 if not
check-all  checks all files
watch      checks a file whenever you save it; keys for all the rest
hint       gives a hint, and one more each time
solution   shows the answer, and marks the exercise
reset      puts the blank back, and keeps a copy of your file
list       lists the exercises; NAME is a word to search for
run-model  puts your code into a pretrained model, and shows whether its
           answers stay the same

NAME is an exercise, such as softmax; without it, the next one. Your progress
is kept in the folder, in .tinybert/progress.json."""

EXAMPLE = """\
  $ tinybert exercises start --fast
  $ tinybert exercises check softmax
  checking tinybert-exercises/loss/softmax.py ...
    ✓ values: 1 case
    ✗ values
        softmax(x: float64 (3, 3, 5), axis=0)
        expected 0.885729 at [2, 2, 2], got 0.234828
        45 of 45 numbers differ
        Your output equals a known mistake, "always the last axis": the
        sum has to run over `axis`.
  Not yet. A hint: tinybert exercises hint softmax"""

ACTIONS = (
    "start", "next", "check", "check-all", "watch", "hint", "solution", "reset", "list",
    "run-model",
)  # fmt: skip
# Options that belong to one action only.
OF_ACTION = {"from": "start", "fast": "start", "yes": "reset", "anyway": "run-model"}
PASSED, FAILED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action, NAME and the options."""
    parser.add_argument("action", nargs="?", choices=ACTIONS, metavar="ACTION", help="see above")
    parser.add_argument("name", nargs="?", metavar="NAME", help="an exercise, or its file")
    parser.add_argument(
        "--folder", metavar="FOLDER", help=f"of your files (start: default {progress.FOLDER})"
    )
    parser.add_argument("--from", metavar="NAME", help="start: the exercise to begin with")
    parser.add_argument("--fast", action="store_true", help="start: a course of 20 exercises")
    parser.add_argument("--yes", action="store_true", help="reset: do not ask")
    parser.add_argument("--anyway", action="store_true", help="run-model: without a check before")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Do what the action says."""
    for option, action in OF_ACTION.items():
        if getattr(args, option) and args.action != action:
            given = f", not of {args.action}" if args.action else ""
            raise ValueError(f"--{option} is an option of {action}{given}")
    page = standard_page()
    if args.action == "start":
        return _start(args, page)
    try:
        folder = progress.find_folder(args.folder)
    except progress.NoCourse:
        if args.action is not None or args.folder is not None:
            raise
        return _invite(args, page)
    return RUN[args.action or "next"](folder, args, page)


def _invite(args: argparse.Namespace, page: Page) -> int:
    """Say how to begin."""
    if args.json:
        print_json({"folder": None, "exercises": len(NAMES)})
        return PASSED
    page.say(f"{len(NAMES)} exercises, about {pages.hours(pages.all_minutes())} in all:", "bold")
    page.say("each is a file with one part of the engine left out, and you write it. To begin:")
    page.say("  tinybert exercises start", "bold")
    return PASSED


def _start(args: argparse.Namespace, page: Page) -> int:
    if args.name is not None:
        raise ValueError(f"start takes no NAME; did you mean --from {args.name}?")
    first = course.resolve(getattr(args, "from")) if getattr(args, "from") else None
    folder = _folder_to_start(args.folder)
    new, old = course.start(folder, args.fast or None, first)
    found = progress.load(folder)
    name = found.following()
    if args.json:
        print_json({"folder": str(folder), "new": new, "kept": old, "next": name})
        return PASSED
    kept = f"; {old} were there and are kept" if old else ""
    page.say(f"{new} exercises are in the folder {folder}{kept}.")
    page.say("")
    return _next_of(found, name, page)


def _folder_to_start(given: str | None) -> Path:
    """Return the folder that is given, that of a course that was begun, or the default."""
    if given is not None:
        return Path(given).expanduser()
    try:
        return progress.find_folder(None)
    except progress.NoCourse:
        return Path(progress.FOLDER)


def _next(folder: Path, args: argparse.Namespace, page: Page) -> int:
    found = progress.load(folder)
    name = _name(args) if args.name else found.following()
    if args.json:
        print_json({"next": None if name is None else _about(found, name)})
        return PASSED
    return _next_of(found, name, page)


def _next_of(found: progress.Progress, name: str | None, page: Page) -> int:
    if name is None:
        page.say("All exercises of the course are done.", "bold")
    else:
        page.show(pages.exercise_page(found, name, page.width))
    return PASSED


def _check(folder: Path, args: argparse.Namespace, page: Page) -> int:
    name = _chosen(folder, args)
    if not args.json:
        return PASSED if show_check(folder, name, page).is_passed else FAILED
    report = course.check(folder, name)
    print_json({"exercise": name, "is_passed": report.is_passed, **asdict(report)})
    return PASSED if report.is_passed else FAILED


def _check_all(folder: Path, args: argparse.Namespace, page: Page) -> int:
    _no_name(args)
    if args.json:
        found = {name: check_one(folder, name) for name in progress.load(folder).names}
        print_json(found)
    else:
        found = show_check_all(folder, page)
    return PASSED if set(found.values()) == {"passed"} else FAILED


def _watch(folder: Path, args: argparse.Namespace, page: Page) -> int:
    if args.json:
        raise ValueError("--json is not an option of watch: use check")
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        return _check(folder, args, page)
    from tinybert.learn.terminal.watch import watch

    watch(folder, _chosen(folder, args), page)
    return PASSED


def _hint(folder: Path, args: argparse.Namespace, page: Page) -> int:
    name = _chosen(folder, args)
    hints = course.hint(folder, name)
    if args.json:
        print_json({"exercise": name, "hints": hints, "of": len(task_of(name).exercise.hints)})
    else:
        page.show(pages.hint_page(name, hints, page.width))
    return PASSED


def _solution(folder: Path, args: argparse.Namespace, page: Page) -> int:
    name = _chosen(folder, args)
    answer, is_shown = course.solution(folder, name)
    if args.json:
        print_json({"exercise": name, "solution": answer, "marked": is_shown})
    else:
        page.show(pages.solution_page(answer, is_shown), whole=True)
    return PASSED


def _reset(folder: Path, args: argparse.Namespace, page: Page) -> int:
    name = _chosen(folder, args)
    path = progress.Progress(folder).path(name)
    if not args.yes and not _agrees(f"Put the blank back into {path}? A copy is kept. y/n ", page):
        page.say("nothing was done")
        return FAILED
    backup = course.reset(folder, name)
    if args.json:
        print_json({"exercise": name, "file": str(path), "copy": backup and str(backup)})
    else:
        page.say(pages.reset_text(path, backup))
    return PASSED


def _agrees(question: str, page: Page) -> bool:
    if not sys.stdin.isatty():
        raise ValueError("reset asks before it changes a file: without a terminal, add --yes")
    page.output.write(visible(question))
    page.output.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _list(folder: Path, args: argparse.Namespace, page: Page) -> int:
    found = progress.load(folder)
    tasks = pages.rows_of(found, args.name or "")
    if args.json:
        print_json([_about(found, task.name) for task in tasks])
        return PASSED
    if not tasks:
        raise ValueError(f"no exercise has {args.name!r} in its name, title or chapter")
    page.show(pages.list_page(found, tasks, page.width))
    return PASSED


def _run_model(folder: Path, args: argparse.Namespace, page: Page) -> int:
    from tinybert.learn.supervisor import run_in_models

    if args.name is None:
        raise ValueError("run-model needs a NAME: the exercise whose code goes into a model")
    name = _name(args)
    if task_of(name).plug is None:
        fit = [pages.short(other) for other in NAMES if task_of(other).plug is not None]
        raise ValueError(f"{name} cannot run in a model; these can: {', '.join(fit)}")
    if not args.anyway and not _passes(folder, name, args, page):
        return FAILED

    def hear(message: dict[str, Any]) -> None:
        if not args.json:
            page.say(f"running the model {message['model']}, without your code and with it ...")

    found = run_in_models(name, progress.Progress(folder).path(name), hear)
    if args.json:
        print_json(found)
    else:
        page.show(pages.models_page(found, page.width))
    return PASSED if all(one.get("same") for one in found) else FAILED


def _passes(folder: Path, name: str, args: argparse.Namespace, page: Page) -> bool:
    if args.json:
        report = course.check(folder, name)
        if not report.is_passed:
            print_json([{"model": None, "error": f"{report.stage}: {report.lines[0]}"}])
    else:
        report = show_check(folder, name, page)
        if not report.is_passed:
            page.say("A model runs code that passes its check; --anyway runs it all the same.")
    return report.is_passed


def _chosen(folder: Path, args: argparse.Namespace) -> str:
    """Return the exercise that is named, or the next one."""
    if args.name:
        return _name(args)
    found = progress.load(folder)
    return found.following() or found.names[-1]


def _name(args: argparse.Namespace) -> str:
    return course.resolve(args.name)


def _no_name(args: argparse.Namespace) -> None:
    if args.name is not None:
        raise ValueError(f"check-all takes no NAME; did you mean check {args.name}?")


def _about(found: progress.Progress, name: str) -> dict[str, Any]:
    task, entry = task_of(name), found[name]
    return {
        "exercise": name,
        "title": task.title,
        "file": str(found.path(name)),
        "minutes": task.exercise.minutes,
        "level": task.exercise.level,
        "lesson": task.exercise.lesson,
        "state": entry.state,
        "is_done": entry.is_done,
        "note": found.state(name),
        "attempts": entry.attempts,
        "hints": entry.hints,
    }


RUN: dict[str, Callable[[Path, argparse.Namespace, Page], int]] = {
    "next": _next,
    "check": _check,
    "check-all": _check_all,
    "watch": _watch,
    "hint": _hint,
    "solution": _solution,
    "reset": _reset,
    "list": _list,
    "run-model": _run_model,
}

COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
