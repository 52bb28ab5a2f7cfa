"""The page: an index of steps, values and tree, the arrays, and the code that shows them.

The page holds what `Trace`, `Walk`, `formulas` and `flow` say, and computes nothing but pictures.
Its parts, all in one file:

    <script type="application/json" id="index">   steps, values, nodes, forks, tokens
    <script type="text/plain" id="a12">            array block 12, see `arrays.py`
    <template id="stairs">                         the staircase, see `layout.py`
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinybert.trace.flow import forks, token_norms
from tinybert.trace.formulas import update_formula
from tinybert.trace.html.arrays import Arrays
from tinybert.trace.html.layout import staircase
from tinybert.trace.steps import UPDATE, Step, distinct_values
from tinybert.trace.values import Value
from tinybert.trace.walk import Node, Walk
from tinybert.trace.worked import worked

if TYPE_CHECKING:
    from tinybert.trace.trace import Trace

HERE = Path(__file__).parent
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


def page(
    trace: Trace,
    title: str = "A record",
    tokens: Sequence[Sequence[str]] = (),
    place: str = "",
) -> str:
    """Return the text of the HTML file; for the arguments see `Trace.html`.

    place: where the page begins, as its address says it: "step=41&head=5&screen=attention".
    """
    index, arrays, root = build(trace, tokens)
    blocks = "\n".join(
        f'<script type="text/plain" id="a{number}">{block}</script>'
        for number, block in enumerate(arrays.blocks)
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}: tinybert trace</title>
<style>
{(HERE / "view.css").read_text("utf-8")}</style>
</head>
<body data-title="{escape(title)}" data-place="{escape(place)}">
<script type="application/json" id="index">{as_json(index)}</script>
<template id="stairs">{staircase(trace, root)}</template>
{blocks}
<script>
{(HERE / "view.js").read_text("utf-8")}</script>
</body>
</html>
"""


def as_json(content: Any) -> str:
    """Return JSON that can stand in a <script>: no text in it can end the element."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), default=_as_list)
    return text.replace("<", "\\u003c")


def _as_list(array: Any) -> Any:
    return array.tolist()


def build(
    trace: Trace, tokens: Sequence[Sequence[str]] = ()
) -> tuple[dict[str, Any], Arrays, Node]:
    """Return the index of a page, its arrays, and the root of the tree."""
    walk = Walk(trace)
    values = list(distinct_values(trace.steps))
    parameters = {id(value) for value in values if value.parameter}
    parameters |= {id(value) for step in trace.backward for value in _of_parameters(trace, step)}
    arrays = Arrays(values, parameters)
    numbers = {id(value): number for number, value in enumerate(values)}
    texts: dict[str, int] = {}
    index: dict[str, Any] = {
        "start": walk.step.number,
        "steps": [_step(trace, step, numbers, texts) for step in trace.steps],
        "values": [_value(value) | arrays.add(value) for value in values],
        "nodes": list(_nodes(walk, numbers)),
        "forks": [
            {
                "step": fork.step.number,
                "total": numbers[id(fork.total)],
                "shares": [[s.step.number, numbers[id(s.value)]] for s in fork.shares],
                "tokens": [token_norms(s.value) for s in fork.shares],
            }
            for fork in forks(trace)
        ],
        "attention": attention_steps(trace),
        "tokens": [list(row) for row in tokens],
        "ids": ids_of(trace),
        "texts": list(texts),
        "exact": arrays.exact,
        "reduced": arrays.reduced + trace.shrunk,
    }
    return _finite(index), arrays, walk.root


def attention_steps(trace: Trace) -> list[int]:
    """Return the numbers of the forward steps that made attention weights."""
    return [
        step.number
        for step in trace.forward
        if "attention" in (step.module + step.code).lower() or step.outputs[0].axes == "BHTT"
        if step.operation in ("Softmax", "Laplace", "Relu2") and len(step.outputs[0].shape) >= 3
    ]


def ids_of(trace: Trace) -> Any:
    """Return the ids that the model read, of each row of the batch; [] if there are none."""
    for step in trace.forward:
        if step.operation == "Embedding":
            ids = step.inputs[0].array
            return [] if ids is None else np.atleast_2d(ids).tolist()
    return []


def _of_parameters(trace: Trace, step: Step) -> list[Value]:
    """Return the gradients of parameters that a backward step made."""
    if step.partner is None:
        return []
    names = {f"d{value.name}" for value in trace[step.partner].inputs if value.parameter}
    return [value for value in step.outputs if value.name in names]


def _step(
    trace: Trace, step: Step, numbers: dict[int, int], texts: dict[str, int]
) -> dict[str, Any]:
    formula = update_formula(step.operation) if step.phase == UPDATE else trace.formula(step)

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    return {
        "phase": step.phase,
        "operation": step.operation,
        "path": step.path,
        "call": step.call,
        "inputs": [numbers[id(value)] for value in step.inputs],
        "outputs": [numbers[id(value)] for value in step.outputs],
        "saved": [numbers[id(value)] for value in step.saved],
        "options": step.options,
        "partner": step.partner,
        "place": step.place,
        "code": number(step.code),
        "formula": number(formula),
        "reach": step.reach,
        "worked": [number(text) for text in worked_texts(step)],
    }


def worked_texts(step: Step) -> list[str]:
    """Return the arithmetic of one element of each result: that of largest magnitude."""
    found = (worked(step, value=value.name) for value in step.outputs)
    return [str(result) for result in found if result is not None]


def _value(value: Value) -> dict[str, Any]:
    return {
        "name": value.name,
        "shape": value.shape,
        "dtype": value.dtype,
        "axes": value.axes,
        "parameter": value.parameter,
        "source": value.source,
        "statistics": dataclasses.astuple(value.statistics),
        "reach": value.reach,
        "norm": value.norm,
    }


def _nodes(walk: Walk, numbers: dict[int, int]) -> list[dict[str, Any]]:
    """Return all nodes but the root, each before its parts."""
    found: list[dict[str, Any]] = []
    places: dict[int, int] = {id(walk.root): -1}
    pending = list(reversed(walk.root.children))
    while pending:
        node = pending.pop()
        places[id(node)] = len(found)
        row: dict[str, Any] = {
            "name": node.name,
            "parent": places[id(node.parent)],
            "depth": node.depth,
            "step": node.steps[0].number,
            "count": len(node.steps),
        }
        if not node.is_step:
            walk.node = node
            row["values"] = [numbers[id(value)] for value in walk.values()]
        found.append(row)
        pending.extend(reversed(node.children))
    return found


def _finite(content: Any) -> Any:
    """Replace floats that JSON does not have by their names."""
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content
