"""What a bug of the museum is, the list of all, and `bug`, which plants one.

The rooms import large parts of the engine. They are imported when a bug is asked for, so that
`import tinybert` costs nothing more.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache

from tinybert.learn.patches import Patch, patched

# The files of this folder with bugs, and what they are about.
ROOMS = {
    "gradients": "gradients and formulas",
    "attention": "attention heads",
    "masks": "masks and padding",
    "losses": "losses and labels",
    "training": "optimizers and training",
    "cache": "positions, caches and generation",
    "tokenizers": "tokenizers",
    "files": "weights and files",
    "long": "long sequences",
}


@dataclass(frozen=True)
class Bug:
    """A famous bug, as a patch of the engine from outside.

    Attributes:
        name: what `tinybert.bug` is called with.
        title: a few words.
        mistake: one sentence: what is wrong.
        patches: what is replaced; the first one is the wrong code that is shown.
        measured: what `symptom` returns.
        symptom: computes a number or a text that the bug changes.
        check: raises AssertionError if the bug is planted, and only then. The first line of its
            docstring says what must hold.
        story: how the bug was found, whom it hit, and what to learn from it.
        links: the issue, the paper or the code.
        fooled: a check that passes with the bug as well; its docstring says what it looks at.
        right: the line of the engine that the wrong code stands for. Without it the two functions
            are compared line by line.
        wrong: the wrong function, if the first replacement is not a function itself.
    """

    name: str
    title: str
    mistake: str
    patches: tuple[Patch, ...]
    measured: str
    symptom: Callable[[], str]
    check: Callable[[], None]
    story: str
    links: tuple[str, ...]
    fooled: Callable[[], None] | None = None
    right: str = ""
    wrong: Callable[..., object] | None = None


@cache
def rooms() -> dict[str, tuple[Bug, ...]]:
    """Return the bugs of every room, by its subject."""
    modules = {room: importlib.import_module(f"{__package__}.{room}") for room in ROOMS}
    return {subject: modules[room].BUGS for room, subject in ROOMS.items()}


def find_bug(name: str) -> Bug:
    """Return a bug by its name; ValueError with similar names if there is none."""
    by_name = {bug.name: bug for bugs in rooms().values() for bug in bugs}
    if name in by_name:
        return by_name[name]
    from difflib import get_close_matches

    near = get_close_matches(str(name), by_name, 2)
    hint = f"did you mean {' or '.join(near)}" if near else "see tinybert museum list"
    raise ValueError(f"there is no bug {name!r}: {hint}")


def bug(name: str) -> AbstractContextManager[Bug]:
    """Plant a famous bug in the engine: `with tinybert.bug("no-mask"): ...`.

    Inside the block the engine computes what the bug makes of it, in all threads; after it the
    engine is right again, whatever happened. Blocks may be nested. The result can also decorate a
    function.

    Args:
        name: as in `tinybert museum list`.

    Raises ValueError for an unknown name.
    """
    return _planted(find_bug(name))


@contextmanager
def _planted(bug: Bug) -> Iterator[Bug]:
    with patched(*bug.patches):
        yield bug
