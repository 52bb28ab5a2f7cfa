"""`Trace`: the record of a run, as plain data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

from tinybert.atomic import atomic_write
from tinybert.trace.difference import TraceDifference, compare
from tinybert.trace.files import read_steps, write_steps
from tinybert.trace.formulas import formulas, operation_named
from tinybert.trace.html.page import page
from tinybert.trace.notebook import html_table
from tinybert.trace.replay import Replayed, replay
from tinybert.trace.steps import BACKWARD, FORWARD, UPDATE, Step, distinct_values
from tinybert.trace.values import Value
from tinybert.trace.why_nan import Cause, why_nan


@dataclass
class Trace:
    """All steps of a run, in the order in which they ran.

        trace[12]                          step 12
        trace["encoder.layer.3"]           the steps of a module and of its parts
        trace.forward, trace.backward, trace.updates

    Attributes:
        steps: the steps.
        shrunk: the number of arrays that were reduced to thumbnails because there was no room.
        title, loss: what the loss is and its value, "cosine of two texts = 0.5217"; "" and None if
            they are not known.
        tokens: the tokens of each row of the batch, which label the axes T; [] if not known.
    """

    steps: list[Step] = field(default_factory=list)
    shrunk: int = 0
    title: str = ""
    loss: float | None = None
    tokens: list[list[str]] = field(default_factory=list)

    @overload
    def __getitem__(self, key: int) -> Step: ...
    @overload
    def __getitem__(self, key: str) -> list[Step]: ...
    def __getitem__(self, key: int | str) -> Step | list[Step]:
        if isinstance(key, str):
            found = [step for step in self.steps if _is_inside(step.path, key)]
            if not found:
                raise KeyError(f"no step has the path {key!r}; `trace.modules()` lists them")
            return found
        return self.steps[key]

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    @property
    def forward(self) -> list[Step]:
        """The steps of the forward passes."""
        return [step for step in self.steps if step.phase == FORWARD]

    @property
    def backward(self) -> list[Step]:
        """The steps of the backward passes."""
        return [step for step in self.steps if step.phase == BACKWARD]

    @property
    def updates(self) -> list[Step]:
        """The updates of parameters."""
        return [step for step in self.steps if step.phase == UPDATE]

    def modules(self) -> list[str]:
        """Return the names of all modules that ran an operation, in the order of the first."""
        return list(dict.fromkeys(step.module for step in self.steps))

    def values(self) -> Iterator[Value]:
        """Return all arrays of all steps, each once."""
        return distinct_values(self.steps)

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays that are kept."""
        return sum(value.nbytes for value in self.values() if value.array is not None)

    def formula(self, step: Step) -> str:
        """Return the formula of a step, as its operation states it; "" if that is not known."""
        forward = step if step.partner is None or step.phase == FORWARD else self[step.partner]
        kind = forward.rerun[0] if forward.rerun else operation_named(step.operation)
        if kind is None or step.phase == UPDATE:
            return ""
        return formulas(kind).backward if step.phase == BACKWARD else formulas(kind).forward

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the record to a file, which `load_trace` reads; see `files.py` for its format."""
        names = ("shrunk", "title", "loss", "tokens")
        write_steps(self.steps, {name: getattr(self, name) for name in names}, path)

    def html(
        self,
        path: str | os.PathLike[str],
        title: str = "",
        tokens: Sequence[Sequence[str]] = (),
    ) -> None:
        """Write the record as one HTML page, which needs no network.

        Args:
            path: the file.
            title: the heading of the page, such as the text that the model read; by default that
                of the record.
            tokens: the tokens of each row of the batch; by default those of the record.
        """
        with atomic_write(path) as file:
            heading = title or self.title or "A record"
            file.write(page(self, heading, tokens or self.tokens).encode())

    def replay(self) -> list[Replayed]:
        """Run every step again, and return the result of each; see `replay.py`."""
        return replay(self.steps)

    def compare(self, other: Trace) -> TraceDifference:
        """Compare it with another record of the same model and input; see `difference.py`."""
        if not isinstance(other, Trace):
            raise TypeError(f"other must be a Trace, got {type(other).__name__}")
        return compare(self.steps, other.steps)

    def why_nan(self) -> Cause | None:
        """Return the first step that got or made a NaN or an infinity; None if there is none."""
        return why_nan(self.steps)

    def __str__(self) -> str:
        return "\n".join(map(repr, self.steps))

    def __repr__(self) -> str:
        counts = f"{len(self.forward)} forward, {len(self.backward)} backward"
        updates = f", {len(self.updates)} updates" if self.updates else ""
        shrunk = f"; {self.shrunk} arrays are thumbnails" if self.shrunk else ""
        return f"<Trace of {counts}{updates} steps, {self.nbytes / 1e6:.1f} MB{shrunk}>"

    def _repr_html_(self) -> str:
        """Show the steps as a table in a notebook."""
        return html_table(self.steps, repr(self).strip("<>"))


def load_trace(path: str | os.PathLike[str]) -> Trace:
    """Read a record that `trace.save` wrote; CheckpointError for any other file."""
    steps, about = read_steps(path)
    return Trace(steps, **about)


def _is_inside(path: str, key: str) -> bool:
    return path == key or path.startswith(key + ".")
