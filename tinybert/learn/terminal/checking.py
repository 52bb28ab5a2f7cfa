"""A check that is shown while it runs."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any, TextIO

from tinybert.learn import course, progress
from tinybert.learn.grader import Report
from tinybert.learn.terminal import pages
from tinybert.learn.terminal.report import draw, report_lines
from tinybert.trace.terminal.look import Line, Look

NARROWEST, WIDEST = 30, 1000  # columns


class Page:
    """Where lines are written, with the width and the colours that it has."""

    has_keys = False  # whether a key is enough for what is a command elsewhere

    def __init__(self, output: TextIO) -> None:
        self.output = output
        look = Look.of(os.environ, output.encoding or "ascii")
        is_plain = not output.isatty() or os.environ.get("TERM") == "dumb"
        self.look = Look(0, look.blocks) if is_plain else look

    @property
    def width(self) -> int:
        """The columns of the terminal."""
        return max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)

    def show(self, lines: list[Line], whole: bool = False) -> None:
        """Write lines; they are cut at the width of the terminal unless `whole`."""
        self.output.write(draw(lines, WIDEST if whole else self.width, self.look))
        self.output.flush()

    def say(self, text: str, style: str = "") -> None:
        """Write a paragraph."""
        self.show(pages.paragraph(text, self.width, style))


def standard_page() -> Page:
    """Return the page of the standard output, whose texts are escaped where they are drawn."""
    return Page(getattr(sys.stdout, "raw", sys.stdout))


def show_check(folder: Path, name: str, page: Page) -> Report:
    """Check the file of an exercise; say so before it begins, and before a slow stage."""
    before = progress.load(folder)
    page.say(f"checking {before.path(name)} ...")
    told = False

    def hear(message: dict[str, Any]) -> None:
        nonlocal told
        if message["stage"] == "model" and not told:
            told = True
            page.say("running a real model with your code, which takes a few seconds ...")

    report = course.check(folder, name, hear)
    page.show(report_lines(report, page.width, page.look))
    after = progress.load(folder)
    was_done = before[name].is_done
    page.show(pages.verdict(after, name, report, was_done, page.width, page.has_keys))
    return report


def show_check_all(folder: Path, page: Page) -> dict[str, str]:
    """Check all exercises of the course, one line each; return name -> what was found."""
    found = {}
    names = progress.load(folder).names
    for name in names:
        found[name] = check_one(folder, name)
        page.say(f"{name}: {found[name]}", "32" if found[name] == "passed" else "")
    passed = sum(said == "passed" for said in found.values())
    page.say(f"{passed} of {len(names)} passed", "bold")
    return found


def check_one(folder: Path, name: str) -> str:
    """Return "passed", or in a few words why not; a file that was not touched is not run."""
    path = progress.Progress(folder).path(name)
    if course.is_blank(path, name):
        return "not written yet"
    report = course.check(folder, name)
    return "passed" if report.is_passed else f"{report.stage}: {report.lines[0]}"
