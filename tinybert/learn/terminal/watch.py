"""`watch`: check an exercise whenever its file is saved, and obey keys.

Nothing that was shown is cleared: the report of a check stays above those that follow.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from tinybert.columns import wrap
from tinybert.learn import course, progress
from tinybert.learn.catalogue import task_of
from tinybert.learn.terminal import pages
from tinybert.learn.terminal.checking import Page, show_check, show_check_all
from tinybert.learn.terminal.pages import KEYS
from tinybert.trace.terminal.keys import read_keys
from tinybert.trace.terminal.screen import stops_raise

WAIT = 0.3  # seconds between two looks at the file
QUIT, OPEN = "quit", "open"


class Watch:
    """The state of the loop: the exercise, the file as it was last checked, an open question."""

    def __init__(self, folder: Path, name: str, page: Page) -> None:
        self.folder, self.name, self.page = folder, name, page
        page.has_keys = True
        self.checked: tuple[int, int, int] | None = None
        self.question: Callable[[], None] | None = None
        self.keys: dict[str, tuple[str, Callable[[], str | None]]] = {
            KEYS["next"]: ("next exercise", self._next),
            "r": ("run again", self._run),
            KEYS["hint"]: ("hint", self._hint),
            KEYS["solution"]: ("solution", self._ask_solution),
            "l": ("list", self._list),
            "c": ("check all", self._check_all),
            KEYS["reset"]: ("reset", self._ask_reset),
            "o": ("open in editor", lambda: OPEN),
            "q": ("quit", lambda: QUIT),
        }

    @property
    def path(self) -> Path:
        """The file of the exercise."""
        return progress.Progress(self.folder).path(self.name)

    def run(self) -> None:
        """Check and obey until q is pressed."""
        self._show_exercise()
        with stops_raise():
            while self._until_quit_or_open() == OPEN:
                self._open()

    def _until_quit_or_open(self) -> str:
        with read_keys() as read:
            while True:
                state = signature(self.path)
                if state is not None and state != self.checked:
                    self._run()
                try:
                    pressed = read(WAIT)
                except EOFError:  # the terminal is gone
                    return QUIT
                for key in pressed:
                    if (wish := self._press(key)) is not None:
                        return wish

    def _press(self, key: str) -> str | None:
        if self.question is not None:
            question, self.question = self.question, None
            if key in "yY":
                question()
            else:
                self.page.say("nothing was done")
            return None
        if key in self.keys:
            return self.keys[key][1]()
        self._show_keys()
        return None

    def _show_keys(self) -> None:
        words = [f"{key} {word}" for key, (word, _) in self.keys.items()]
        self.page.show([[(row, "dim")] for row in wrap(words, self.page.width, "  ")])

    def _show_exercise(self) -> None:
        found = progress.load(self.folder)
        self.page.show(pages.exercise_page(found, self.name, self.page.width, has_keys=True))

    def _run(self) -> None:
        self.checked = signature(self.path)  # before: a save during the check is checked next
        self.page.say("")
        show_check(self.folder, self.name, self.page)
        self._show_keys()

    def _next(self) -> None:
        following = progress.load(self.folder).following(self.name)
        if following is None:
            self.page.say("All exercises are done.", "bold")
            return
        self.name, self.checked = following, None
        self._show_exercise()

    def _hint(self) -> None:
        hints = course.hint(self.folder, self.name)
        self.page.show(pages.hint_page(self.name, hints, self.page.width))

    def _list(self) -> None:
        found = progress.load(self.folder)
        self.page.show(pages.list_page(found, pages.rows_of(found), self.page.width))

    def _check_all(self) -> None:
        show_check_all(self.folder, self.page)

    def _ask_solution(self) -> None:
        if progress.load(self.folder)[self.name].is_done:
            self._show_solution()
        else:
            self._ask("Show the solution, and mark the exercise as shown?", self._show_solution)

    def _show_solution(self) -> None:
        found = pages.solution_page(*course.solution(self.folder, self.name))
        self.page.show(found, whole=True)

    def _ask_reset(self) -> None:
        self._ask("Put the blank back? A copy of your file is kept.", self._reset)

    def _reset(self) -> None:
        self.page.say(pages.reset_text(self.path, course.reset(self.folder, self.name)))

    def _ask(self, text: str, then: Callable[[], None]) -> None:
        self.question = then
        self.page.say(f"{text} y/n", "bold")

    def _open(self) -> None:
        """Run the user's editor on the file, in this terminal."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        if not editor:
            self.page.say(f"set the variable EDITOR, or open {self.path} in your editor")
            return
        try:
            subprocess.run([*shlex.split(editor), str(self.path)], check=False)
        except (OSError, ValueError) as error:
            self.page.say(f"the editor {editor!r} cannot be run: {error}")


def watch(folder: Path, name: str, page: Page) -> None:
    """Check an exercise at every save, in a terminal."""
    Watch(folder, task_of(name).name, page).run()


def signature(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is saved; None if there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
