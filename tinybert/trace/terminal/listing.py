"""A record as a listing, one line a step, and as data for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from tinybert.trace.runs import Run
from tinybert.trace.terminal.render import shape
from tinybert.trace.values import Value


def listing(run: Run) -> Iterator[str]:
    """Yield a line for each step: number, half, path, shapes, formula, place."""
    width = len(str(len(run.trace)))
    for step in run.trace:
        flow = f"{_shapes(step.inputs)} -> {_shapes(step.outputs)}"
        formula = "; ".join(run.trace.formula(step).splitlines())
        parts = [step.path, flow, formula, step.place]
        yield f"{step.number:>{width}} {step.phase:8}  " + "  ".join(part for part in parts if part)


def as_data(run: Run) -> dict[str, Any]:
    """Return the loss, the tokens and all steps with the statistics of their arrays."""
    steps = [
        {
            "number": step.number,
            "phase": step.phase,
            "path": step.path,
            "call": step.call,
            "formula": run.trace.formula(step),
            "place": step.place,
            "partner": step.partner,
            "inputs": [_value(value) for value in step.inputs],
            "outputs": [_value(value) for value in step.outputs],
            "saved": [_value(value) for value in step.saved],
        }
        for step in run.trace
    ]
    return {"title": run.title, "loss": run.loss, "tokens": run.tokens, "steps": steps}


def _value(value: Value) -> dict[str, Any]:
    names = {"name": value.name, "shape": list(value.shape), "axes": value.axes}
    origin = {"parameter": value.parameter, "source": value.source}
    return {**names, "dtype": value.dtype, **origin, **asdict(value.statistics)}


def _shapes(values: list[Value]) -> str:
    return ", ".join(f"{value.name} {shape(value)}" for value in values)
