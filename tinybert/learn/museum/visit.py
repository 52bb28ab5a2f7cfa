"""A visit to a bug: its symptom and its check, without the bug and with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tinybert.autograd import enable_grad, set_default_device, set_default_dtype
from tinybert.backend import manual_seed
from tinybert.learn.museum.bugs import Bug
from tinybert.learn.patches import patched


@dataclass(frozen=True)
class Visit:
    """What a visit found. A complaint is the message of a check that fails, "" if it passes.

    Attributes:
        before, planted: the symptom without the bug and with it.
        false_alarm: the complaint of the check without the bug; "" if all is right.
        caught: the complaint of the check with the bug.
        fooled: the complaint of the check that the bug fools, with the bug; "" as well.
    """

    before: str
    planted: str
    false_alarm: str
    caught: str
    fooled: str

    @property
    def succeeded(self) -> bool:
        """Whether the symptom changed, and every check did what the bug says it does."""
        as_told = not self.false_alarm and bool(self.caught) and not self.fooled
        return as_told and self.before != self.planted


def visit(bug: Bug) -> Visit:
    """Run the symptom and the check of a bug without the bug, then with it."""
    with laboratory():
        before, false_alarm = bug.symptom(), complaint(bug.check)
        with patched(*bug.patches):
            return Visit(
                before,
                bug.symptom(),
                false_alarm,
                complaint(bug.check),
                complaint(bug.fooled) if bug.fooled else "",
            )


def complaint(check: Callable[[], None]) -> str:
    """Run a check; return the message of its AssertionError, or "" if it passes."""
    try:
        check()
    except AssertionError as error:
        return str(error) or "an assertion without a message"
    return ""


def claim(check: Callable[[], None]) -> str:
    """Return what must hold if a check passes, in one sentence."""
    return " ".join((inspect.getdoc(check) or check.__name__).split())


@contextmanager
def laboratory() -> Iterator[None]:
    """Compute with random numbers from seed 0, float32 on the CPU, and gradients."""
    with manual_seed(0), set_default_dtype("float32"), set_default_device("cpu"), enable_grad():
        yield
