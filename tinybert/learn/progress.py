"""What a learner has done: `.tinybert/progress.json` in the folder of the exercises.

    {"schema": 1, "fast": false, "first": "tape/chain_rule",
     "exercises": {"tape/mul": {"state": "passed", "attempts": 3, "hints": 1, "sha256": "..."}}}

The file is replaced as a whole, and by one process at a time: a process that is killed leaves the
old file or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tinybert.atomic import atomic_write, locked
from tinybert.checks import check_choice, check_flag, check_integer
from tinybert.files import FileError, read_regular
from tinybert.learn.catalogue import NAMES

FOLDER = "tinybert-exercises"  # the default name of a learner's folder
SCHEMA = 1
STATES = ("new", "tried", "passed", "shown")
# The short course.
FAST = {
    "tape": "chain_rule unbroadcast mul walk gradcheck",
    "loss": "softmax softmax_backward cross_entropy",
    "parts": "gelu layer_norm embedding adam",
    "words": "longest",
    "bytes": "merge",
    "attn": "scores padding_mask forward",
    "bert": "layer pooling",
    "write": "cache_step",
}


class NoCourse(ValueError):
    """There is no folder with exercises; the message says how to begin."""


@dataclass
class Entry:
    """What is known of one exercise.

    Attributes:
        state: "new"; "tried": checked, and not passed; "passed"; "shown": the solution was looked
            at before the exercise was passed.
        attempts: how often the file was checked.
        hints: how many hints were read.
        sha256: of the file when it last passed, or None.
    """

    state: str = "new"
    attempts: int = 0
    hints: int = 0
    sha256: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the last check was passed."""
        return self.state != "tried" and self.sha256 is not None


@dataclass
class Progress:
    """The course of a learner, and what is done of it.

    Attributes:
        folder: with the files of the exercises.
        fast: whether it is the short course.
        first: the exercise to begin with; those before it come last.
        entries: by name; an exercise that was never touched has none.
    """

    folder: Path
    fast: bool = False
    first: str | None = None
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The exercises of the course in their order."""
        names = [name for name in NAMES if not self.fast or _is_fast(name) or name == self.first]
        place = names.index(self.first) if self.first in names else 0
        return names[place:] + names[:place]

    def __getitem__(self, name: str) -> Entry:
        """Return what is known of an exercise."""
        return self.entries.get(name, Entry())

    def path(self, name: str) -> Path:
        """Return the file of an exercise."""
        return self.folder / f"{name}.py"

    def following(self, name: str | None = None) -> str | None:
        """Return the first exercise after `name`, or of all, that is not done; None if all are."""
        names = self.names
        place = names.index(name) + 1 if name in names else 0
        return next((n for n in names[place:] + names[:place] if not self[n].is_done), None)

    def state(self, name: str) -> str:
        """Return the state in words, with what happened to the file since it passed."""
        entry, path = self[name], self.path(name)
        if not os.path.lexists(path):
            return "file missing"
        if entry.state == "tried":
            return "passed, now broken" if entry.sha256 else "tried"
        if entry.sha256 is None:
            return {"new": "", "shown": "solution shown"}.get(entry.state, entry.state)
        words = "passed" if entry.state == "passed" else "passed, solution shown"
        return words if sha256_of(path) == entry.sha256 else f"{words}; changed since"

    def checked(self, name: str, sha256: str | None) -> None:
        """Count a check; `sha256` is that of the file if it passed, else None."""
        entry = self.entries.setdefault(name, Entry())
        entry.attempts += 1
        if sha256 is not None:
            entry.sha256 = sha256
            entry.state = "shown" if entry.state == "shown" else "passed"
        elif entry.state == "shown":
            entry.sha256 = None
        else:
            entry.state = "tried"

    def reset(self, name: str) -> None:
        """Forget that an exercise was tried or passed, but not that its solution was shown."""
        entry = self.entries.setdefault(name, Entry())
        entry.sha256 = None
        entry.state = "shown" if entry.state == "shown" else "new"


def _is_fast(name: str) -> bool:
    chapter, _, short = name.partition("/")
    return short in FAST.get(chapter, "").split()


def find_folder(given: str | None) -> Path:
    """Return the learner's folder: `given`, the working folder or one around it, or the default.

    Raises:
        NoCourse: there is none.
    """
    if given is not None:
        places = [Path(given).expanduser()]
    else:
        around = [Path(*[os.pardir] * n) for n in range(len(Path.cwd().parents) + 1)]
        places = [*around, Path(FOLDER)]
    for place in places:
        if os.path.lexists(_file(place)):
            return place
    where = f"in {given!r}" if given is not None else "here"
    raise NoCourse(f"there are no exercises {where}: run `tinybert exercises start`")


def load(folder: Path) -> Progress:
    """Read the progress of a folder; a folder without a file has made none.

    Raises:
        ValueError: the file is damaged, or of a newer version.
    """
    path = _file(folder)
    try:
        content = json.loads(read_regular(path))
        if not isinstance(content, dict):
            raise ValueError("it is not an object")
        check_integer("schema", content.get("schema"), 1)
        if content["schema"] > SCHEMA:
            raise FileError(
                path, f"a newer tinybert has written it (schema {content['schema']}): update yours"
            )
        return _parsed(folder, content)
    except FileNotFoundError:
        return Progress(folder)
    except FileError:
        raise
    except (ValueError, RecursionError) as error:  # also of JSON and UTF-8
        raise FileError(
            path, f"the file is damaged ({error}): delete it to start anew; your solutions stay"
        ) from None


def _parsed(folder: Path, content: dict[str, Any]) -> Progress:
    found = Progress(folder, content.get("fast"), content.get("first"))  # type: ignore[arg-type]
    check_flag("fast", found.fast)
    _check_text("first", found.first)
    exercises = content.get("exercises")
    if not isinstance(exercises, dict):
        raise ValueError("it has no exercises")
    known = {member.name for member in fields(Entry)}
    for name, members in exercises.items():
        if not isinstance(members, dict) or set(members) != known:
            raise ValueError(f"{name} must have {', '.join(sorted(known))}")
        entry = found.entries[name] = Entry(**members)
        check_choice(f"state of {name}", entry.state, STATES)
        check_integer(f"attempts of {name}", entry.attempts, 0)
        check_integer(f"hints of {name}", entry.hints, 0)
        _check_text(f"sha256 of {name}", entry.sha256)
    return found


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str | None):
        raise ValueError(f"{name} must be a text or null")


@contextmanager
def changing(folder: Path) -> Iterator[Progress]:
    """Give the progress of a folder to change; it is saved at the end of the block."""
    path = _file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent):
        progress = load(folder)
        yield progress
        content = {
            "schema": SCHEMA,
            "fast": progress.fast,
            "first": progress.first,
            "exercises": {name: asdict(entry) for name, entry in progress.entries.items()},
        }
        with atomic_write(path, "w") as file:
            json.dump(content, file, indent=1)


def sha256_of(path: Path) -> str | None:
    """Return the hash of a file, None if it cannot be read."""
    try:
        return hashlib.sha256(read_regular(path)).hexdigest()
    except (OSError, FileError):
        return None


def _file(folder: Path) -> Path:
    return folder / ".tinybert" / "progress.json"
