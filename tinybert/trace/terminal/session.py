"""`Session`: a place in a record and what is looked at there. Keys change it; it draws nothing but
the picture that `e` saves.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tinybert.atomic import atomic_write
from tinybert.trace.pictures import value_picture
from tinybert.trace.runs import Run
from tinybert.trace.steps import BACKWARD, FORWARD, Step
from tinybert.trace.values import Value
from tinybert.trace.walk import Walk
from tinybert.trace.worked import worked

VIEWS = ("table", "map", "numbers")
PANES = ("step", "tensor", "tree")
KEYS = (  # what the help says, the most needed first
    ("n", "next", "next step (also space)"),
    ("b", "back", "step before"),
    ("i", "into", "into the module"),
    ("o", "out", "out to the module around"),
    ("?", "help", "this page"),
    ("q", "quit", "quit"),
    ("t", "tensor", "choose the next tensor of this step"),
    ("[ ]", "head", "head or batch row before, next"),
    ("arrows", "move", "move in the tensor"),
    ("v", "view", "table, heat map, or the numbers of a row in full"),
    ("w", "worked", "the number at the cursor worked out"),
    ("d", "pair", "the same operation in the other direction"),
    ("e", "export", "save the tensor as a picture: an SVG file in this folder"),
    ("g", "jump", "jump to a module: type the beginning of its path"),
    ("/", "search", "search paths, code and names; Enter alone searches on"),
    ("f", "forward", "first step of the forward half"),
    ("B", "backward", "first step of the backward half"),
    ("tab", "pane", "the other panes, in a narrow terminal"),
)
ARROWS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
PROMPTS = {"g": "jump", "/": "search"}


class Session:
    """What the screen shows.

    Attributes:
        walk: the place in the record. run: the record, with the tokens of its texts.
        view: "table", "map" or "numbers". pane: the pane of a narrow terminal.
        worked, help, done: whether the number is worked out, the help shown, the session over.
        prompt: "jump" or "search" while a text is typed, else "". typed: that text.
        message: what the last key has to say.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.walk = run, Walk(run.trace)
        self.view, self.pane = "table", "step"
        self.worked = self.help = self.done = False
        self.prompt = self.typed = self.message = self.searched = ""
        self._choice = ("", 0)  # the name of the chosen tensor, and which of this name
        self._row = self._column = 0
        self._leading: dict[str, int] = {}  # place on an axis by its letter, kept from step to step
        self._actions: dict[str, Callable[[], str | None]] = {
            " ": self._next, "n": self._next, "b": self._back, "i": self._into, "o": self._out,
            "f": lambda: self._half(FORWARD), "B": lambda: self._half(BACKWARD), "d": self._pair,
            "t": self._choose, "[": lambda: self._lead(-1), "]": lambda: self._lead(1),
            "v": self._turn_view, "w": self._work, "?": self._show_help, "q": self._quit,
            "tab": self._turn_pane, "e": self._export,
        }  # fmt: skip

    # --- what is looked at ----------------------------------------------------------------------

    @property
    def step(self) -> Step:
        """The operation at this place."""
        return self.walk.step

    @property
    def values(self) -> list[Value]:
        """The arrays at this place."""
        return self.walk.values()

    @property
    def chosen(self) -> int:
        """The place of the chosen tensor in `values`: that with the chosen name, or the result."""
        if self._choice in (choices := self._choices()):
            return choices.index(self._choice)
        outputs = self.walk.node.steps[-1].outputs
        return next((n for n, value in enumerate(self.values) if value in outputs), 0)

    @property
    def value(self) -> Value:
        """The chosen tensor."""
        return self.values[self.chosen]

    @property
    def leading(self) -> tuple[int, ...]:
        """The chosen places on all axes but the last two."""
        value = self.value
        if value.array is None:
            return ()
        letters = self._letters(value)
        return tuple(
            max(0, min(self._leading.get(letter, 0), size - 1))
            for letter, size in zip(letters, value.shape[:-2], strict=False)
        )

    @property
    def matrix(self) -> np.ndarray:
        """The last two axes of the chosen tensor, at the chosen head and batch row; what is kept of
        it if that is only a thumbnail.
        """
        value = self.value
        if value.array is None:
            assert value.thumbnail is not None
            return value.thumbnail
        return np.atleast_2d(value.array[self.leading])

    @property
    def cursor(self) -> tuple[int, int]:
        """The row and column of the chosen number in `matrix`."""
        rows, columns = self.matrix.shape
        return max(0, min(self._row, rows - 1)), max(0, min(self._column, columns - 1))

    @property
    def index(self) -> tuple[int, ...]:
        """The index of the chosen number in the tensor; in its thumbnail if that is all."""
        return (*self.leading, *self.cursor)[-len(self.value.shape) :] if self.value.shape else ()

    def labels(self, axis: int) -> list[str]:
        """Return the names of the rows (axis 0) or columns (1) of `matrix`: tokens or numbers."""
        value, count = self.value, self.matrix.shape[axis]
        letters = value.axes[-2:] if value.array is not None else ""
        letter = letters[axis] if len(letters) == 2 else ""
        if len(value.shape) == 1 and axis == 1:
            letter = value.axes
        batch = self.index[0] if value.axes.startswith("B") and self.index else 0
        tokens = self.run.tokens[batch] if batch < len(self.run.tokens) else []
        if letter == "T" and len(tokens) == count:
            return tokens
        return [str(n) for n in range(count)]

    def worked_lines(self) -> list[str]:
        """Return the arithmetic of the chosen number."""
        if not self.walk.node.is_step:
            return ["a module has no worked numbers: i goes into it"]
        if self.value not in self.step.outputs:
            return ["only results are worked out: t chooses another tensor"]
        if self.value.array is None or self.value.array.size == 0:
            return ["the record does not hold the numbers of this tensor"]
        found = worked(self.step, self.index, self.value.name)
        return str(found).splitlines() if found else ["this operation has no worked numbers"]

    # --- keys -----------------------------------------------------------------------------------

    def press(self, key: str) -> None:
        """Do what a key asks for: a character, or "up", "tab", "enter", "escape", "backspace"."""
        self.message = ""
        if self.prompt:
            self._type(key)
        elif self.help and key != "q":
            self.help = False
        elif key in ARROWS:
            (row, column), (down, right) = self.cursor, ARROWS[key]
            rows, columns = self.matrix.shape
            self._row = max(0, min(row + down, rows - 1))
            self._column = max(0, min(column + right, columns - 1))
        elif key in PROMPTS:
            self.prompt, self.typed = PROMPTS[key], ""
        elif key in self._actions:
            self.message = self._actions[key]() or ""
        elif len(key) == 1:
            self.message = f"{key} is no key of this screen; ? shows all"

    def _type(self, key: str) -> None:
        if key == "escape":
            self.prompt = ""
        elif key == "backspace":
            self.typed = self.typed[:-1]
        elif key == "enter":
            prompt, self.prompt = self.prompt, ""
            self.message = self._jump() if prompt == "jump" else self._search()
        elif len(key) == 1 and key.isprintable():
            self.typed += key

    def _jump(self) -> str:
        found = self.walk.jump(self.typed, self.step.phase)
        return "" if found else f"no module of this half has {self.typed!r} in its path"

    def _search(self) -> str:
        self.searched = self.typed or self.searched
        if not self.searched:
            return "search: nothing was typed"
        return "" if self.walk.search(self.searched) else f"no step has {self.searched!r}"

    def _next(self) -> str | None:
        before = self.step.phase
        if not self.walk.next():
            return "this is the end of the record"
        if (before, self.step.phase) == (FORWARD, BACKWARD):
            loss = "" if self.run.loss is None else f" ({self.run.title})"
            return f"The forward half ends with the loss{loss}: now its gradient comes down."
        return None

    def _back(self) -> str | None:
        return None if self.walk.back() else "this is the beginning of the record"

    def _into(self) -> str | None:
        return None if self.walk.into() else "an operation has no parts; t chooses a tensor"

    def _out(self) -> str | None:
        return None if self.walk.out() else "there is no module around this one"

    def _half(self, phase: str) -> str | None:
        return None if self.walk.half(phase) else f"the record has no {phase} step"

    def _pair(self) -> str | None:
        if not self.walk.node.is_step:
            return "i goes into the module: its operations have pairs"
        return None if self.walk.turn() else "this operation has no step in the other direction"

    def _choose(self) -> None:
        choices = self._choices()
        self._choice = choices[(self.chosen + 1) % len(choices)]

    def _choices(self) -> list[tuple[str, int]]:
        names = [value.name for value in self.values]
        return [(name, names[:n].count(name)) for n, name in enumerate(names)]

    def _lead(self, direction: int) -> str | None:
        """Move on the axes before the last two, the last of them fastest."""
        sizes = self.value.shape[:-2] if self.value.array is not None else ()
        if not sizes:
            return "this tensor has no heads and no batch"
        place = int(np.ravel_multi_index(self.leading, sizes)) + direction
        if not 0 <= place < int(np.prod(sizes)):
            return "this is the first one" if direction < 0 else "this is the last one"
        places = np.unravel_index(place, sizes)
        self._leading.update(zip(self._letters(self.value), map(int, places), strict=False))
        return None

    def _letters(self, value: Value) -> list[str]:
        """Return a name for each axis: its letter, or its place if several share the letter."""
        letters = value.axes or "." * len(value.shape)
        return [x if letters.count(x) == 1 else f"{x}{n}" for n, x in enumerate(letters)]

    def _turn_view(self) -> None:
        self.view = VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)]

    def _turn_pane(self) -> None:
        self.pane = PANES[(PANES.index(self.pane) + 1) % len(PANES)]

    def _work(self) -> None:
        self.worked = not self.worked

    def _export(self) -> str:
        value, index = self.value, self.leading
        if not self.matrix.size:
            return f"{value.name} is empty: there is nothing to draw"
        names = [self.labels(axis) for axis in (0, 1)]
        place = "-".join(map(str, index if any(n > 1 for n in value.shape[:-2]) else ()))
        name = f"step-{self.step.number}-{value.name}{'-' if place else ''}{place}"
        path = Path(re.sub(r"[^\w.-]", "_", name) + ".svg")
        try:
            with atomic_write(path) as file:
                file.write(value_picture(self.step, value, index, *names).encode())
        except OSError as error:
            return f"{path} cannot be written: {error.strerror}"
        return f"saved as {path}"

    def _show_help(self) -> None:
        self.help = True

    def _quit(self) -> None:
        self.done = True
