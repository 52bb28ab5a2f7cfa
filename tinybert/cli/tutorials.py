"""`tinybert tutorials`: list, open and run the lessons, build the site."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tinybert.cli.command import Command, add_json_argument, optional
from tinybert.cli.site import build
from tinybert.cli.terminal import print_json, table
from tinybert.learn.lessons import Lesson, lesson_of, lessons

DETAILS = """\
list  shows the lessons, in the order in which they build on each other.
open  writes a copy of a LESSON to the folder --folder, for you to read, change
      and debug; --notebook writes it as a Jupyter notebook (pip install
      "tinybert[site]"). A file that you have changed is never overwritten.
run   runs a LESSON from top to bottom and shows its results and pictures.
build writes a site that works offline into the folder --folder: the lessons
      and demos with their output, exercises, recipes, commands, the API and a
      search. It runs them all, which takes minutes, and needs
      pip install "tinybert[site]".

LESSON is a number or a part of the file's name."""

EXAMPLE = """\
  $ tinybert tutorials list
  $ tinybert tutorials run masks
  $ tinybert tutorials open 1
  wrote tinybert-lessons/01_the_tape.py
  run it:       python tinybert-lessons/01_the_tape.py
  step through: python -m pdb tinybert-lessons/01_the_tape.py"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action, LESSON, --folder and --json."""
    parser.add_argument(
        "action", choices=("list", "open", "run", "build"), nargs="?", default="list"
    )
    parser.add_argument(
        "lesson", nargs="?", metavar="LESSON", help="a number or a part of the name"
    )
    parser.add_argument(
        "--folder",
        metavar="FOLDER",
        help="for open (default: tinybert-lessons) and build (default: tinybert-site)",
    )
    parser.add_argument("--notebook", action="store_true", help="for open: as a Jupyter notebook")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """List, copy or run."""
    if args.notebook and args.action != "open":
        raise ValueError(f"--notebook is an option of open, not of {args.action}")
    if args.action == "list":
        if args.lesson is not None:
            raise ValueError(f"tutorials list takes no LESSON, got {args.lesson!r}")
        return _list(args.json)
    if args.action == "build":
        return _build(Path(args.folder or "tinybert-site"), args.lesson)
    if args.folder is not None and args.action == "run":
        raise ValueError("--folder is an option of open and build, not of run")
    if args.lesson is None:
        raise ValueError(f"tutorials {args.action} needs a LESSON: a number or a part of its name")
    if args.json:
        raise ValueError(f"--json is an option of list, not of {args.action}")
    lesson = lesson_of(args.lesson)
    if args.action == "run":
        return _run(lesson)
    return _open(lesson, Path(args.folder or "tinybert-lessons"), args.notebook)


def _list(as_json: bool) -> int:
    known = lessons()
    if as_json:
        members = ("number", "title", "minutes")
        rows = [{name: getattr(lesson, name) for name in members} for lesson in known]
        print_json([row | {"file": str(x.path)} for row, x in zip(rows, known, strict=True)])
        return 0
    cells = [[str(x.number), x.title, str(x.minutes)] for x in known]
    print("\n".join(table(["lesson", "title", "minutes"], cells, "rlr")))
    print("\n`tinybert tutorials open 1` writes a copy to work with; `run 1` runs it.")
    return 0


def _open(lesson: Lesson, folder: Path, as_notebook: bool) -> int:
    source = lesson.path.read_text(encoding="utf-8")
    copy = folder / lesson.path.name
    if as_notebook:
        jupytext = optional("jupytext", "site", "a notebook")
        source = jupytext.writes(jupytext.reads(source, "py:percent"), "ipynb")
        copy = copy.with_suffix(".ipynb")
    if not copy.exists():
        folder.mkdir(parents=True, exist_ok=True)
        copy.write_text(source, encoding="utf-8")
        print(f"wrote {copy}")
    elif as_notebook or copy.read_text(encoding="utf-8") != source:
        print(f"{copy} is there already and is left as it is")
    else:
        print(f"{copy} is there already")
    if as_notebook:
        print(f"open it:      jupyter lab {copy}")
        return 0
    print(f"run it:       python {copy}")
    print(f"step through: python -m pdb {copy}")
    return 0


def _run(lesson: Lesson) -> int:
    print(f"{lesson.number}. {lesson.title}", file=sys.stderr)
    # Small products only wait for each other on several threads.
    environment = {"OPENBLAS_NUM_THREADS": "1"} | os.environ
    return subprocess.run(
        [sys.executable, str(lesson.path)], env=environment, check=False
    ).returncode


def _build(folder: Path, lesson: str | None) -> int:
    if lesson is not None:
        raise ValueError(f"tutorials build takes no LESSON, got {lesson!r}")
    count = build(folder)
    print(f"wrote {count} pages and the API: open {folder / 'index.html'}")
    return 0


COMMAND = Command(DETAILS, EXAMPLE, add_arguments, run)
