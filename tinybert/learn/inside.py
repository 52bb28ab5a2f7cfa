"""A learner's code inside of real models: do they answer the same with it, and where not?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tinybert.fetch import FetchError
from tinybert.learn import plugged
from tinybert.learn.differences import difference
from tinybert.learn.exercise import Task
from tinybert.learn.grader import NotAccepted, load, read_source
from tinybert.trace import record


def run_in_models(
    task: Task, path: Path, before: Callable[[str], None] = lambda model: None
) -> list[dict[str, Any]]:
    """Put the code of a file into each model that is here; `before` is called with its name.

    Returns for each model a dict: "model", "same", "cosines" and "gradients" with the values
    "before" and "after", "difference", what differs in words, and "first", the first step of the
    model that differs; or "model" and "error", if the code raised an exception.
    """
    try:
        student = load(task, read_source(path), str(path))
    except NotAccepted as error:
        return [{"model": "", "error": str(error)}]
    found = []
    for model in models():
        before(model)
        try:
            found.append(_compared(task, student, model))
        except Exception as error:
            found.append({"model": model, "error": f"{type(error).__name__}: {error}"})
    return found


def models() -> list[str]:
    """Return the models that are on this machine."""
    found = []
    for model in dict.fromkeys((plugged.MODEL, "minilm")):
        try:
            plugged.load_model(model)
        except FetchError:
            if model == plugged.MODEL:
                raise
        else:
            found.append(model)
    return found


def _compared(task: Task, student: ModuleType, model: str) -> dict[str, Any]:
    right, mine = plugged.answers(model), plugged.answers_with(task, student, model)
    found = difference(mine, right, plugged.TOLERANCE)
    return {
        "model": model,
        "same": found is None,
        "cosines": {"before": right["cosines"], "after": mine["cosines"]},
        "gradients": {"before": right["gradient norms"], "after": mine["gradient norms"]},
        "difference": "" if found is None else "; ".join(found.lines),
        "first": "" if found is None else _first_step(task, student, model),
    }


def _first_step(task: Task, student: ModuleType, model: str) -> str:
    """Record the model with and without the learner's code, and return the first other step."""
    loaded = plugged.load_model(model)
    with record(loaded[0]) as right:
        plugged.answers_of(*loaded)
    with record(loaded[0]) as mine:
        plugged.answers_with(task, student, model)
    found = mine.compare(right)
    if found.first is not None:
        return str(found.first)
    return found.parted or "none in a record, which takes attention apart; your code replaces all"
