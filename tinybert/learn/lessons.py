"""The lessons: programs of the folder `tutorials`, in cells of text and code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
MARKDOWN, CODE = "# %% [markdown]", "# %%"


@dataclass(frozen=True)
class Cell:
    """A cell of a lesson: text in Markdown, or code. `line` is that of its first line, from 1."""

    is_code: bool
    text: str
    line: int


@dataclass(frozen=True)
class Lesson:
    """One lesson.

    Attributes:
        number: from 1, that of the file's name.
        path: the file.
        title: its first heading, without the number.
        minutes: what the lesson says of its length, None if it does not.
    """

    number: int
    path: Path
    title: str
    minutes: int | None

    @property
    def cells(self) -> list[Cell]:
        """The cells from top to bottom."""
        return list(read_cells(self.path.read_text(encoding="utf-8")))


def read_cells(source: str) -> Iterator[Cell]:
    """Yield the cells of a script in percent format; what is before the first marker is left out.

    The text of a Markdown cell has lost its `# `.
    """
    marker, start, lines = "", 0, list[str]()
    for number, line in enumerate([*source.splitlines(), CODE], 1):
        if not line.startswith("# %%"):
            lines.append(line)
            continue
        if marker:
            text = "\n".join(lines).strip("\n")
            if marker == MARKDOWN:
                text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
            yield Cell(marker != MARKDOWN, text, start)
        marker, start, lines = line, number + 1, []


def folder() -> Path:
    """Return the folder of the lessons: of the checkout, or inside of an installed package."""
    checkout = PACKAGE.parent / "tutorials"
    inside = PACKAGE / "tutorials"
    return checkout if checkout.is_dir() and not inside.is_dir() else inside


def lessons() -> list[Lesson]:
    """Return all lessons in their order."""
    return [_read(path) for path in sorted(folder().glob("[0-9]*.py"))]


def lesson_of(name: str) -> Lesson:
    """Return a lesson by its number or a part of its file's name; ValueError if not just one."""
    known = lessons()
    if name.isdigit():
        found = [lesson for lesson in known if lesson.number == int(name)]
    else:
        exact = [lesson for lesson in known if name in (lesson.path.stem, lesson.path.name)]
        found = exact or [lesson for lesson in known if name and name in lesson.path.stem]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(lesson.path.stem for lesson in found)
        raise ValueError(f"{name!r} is in the name of several lessons: {names}")
    near = get_close_matches(name, [lesson.path.stem for lesson in known], 2, 0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; see `tinybert tutorials list`"
    raise ValueError(f"there is no lesson {name!r}{hint}")


def _read(path: Path) -> Lesson:
    head = re.search(
        r"^# # (\d+)\. ([^\n]+)$.*?^# \*\*Minutes\*\* (\d+)$", path.read_text("utf-8"), re.M | re.S
    )
    assert head is not None, f"{path} does not begin as a lesson"
    return Lesson(int(head[1]), path, head[2], int(head[3]))
