"""A record as one file: safetensors, with the steps as JSON in its metadata.

Version 1. The metadata has two entries: "kind", "tinybert trace 1", and "trace", a JSON object:

    {"shrunk": 0, "steps": [step, ...], "values": [value, ...]}

It may also have what the record is of: "title", a text; "loss", a number; "tokens", a list of texts
for each row of the batch.

A step has the fields of `Step`; "inputs", "outputs" and "saved" are lists of numbers of values. A
value has the fields of `Value`; its array is the tensor "v12" for value 12, or its thumbnail "t12".
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import numpy as np

from tinybert.trace.steps import BACKWARD, Step, distinct_values
from tinybert.trace.values import Statistics, Value
from tinybert.weights import CheckpointError, save_file
from tinybert.weights.safetensors import SafetensorsFile
from tinybert.weights.strict_json import parse_json

KIND = "tinybert trace 1"
LISTS = ("inputs", "outputs", "saved")
IN_MEMORY = ("rerun", "forward")
LONGEST = 50_000_000  # characters of the JSON text


def write_steps(steps: list[Step], about: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a record to a file, atomically. Arrays that several steps share are stored once.

    about: the other fields of the JSON object, "shrunk" among them.
    """
    numbers: dict[int, int] = {}
    values: list[dict[str, Any]] = []
    tensors: dict[str, np.ndarray] = {}
    for number, value in enumerate(distinct_values(steps)):
        numbers[id(value)] = number
        if value.array is not None:
            tensors[f"v{number}"] = value.array
        elif value.thumbnail is not None:
            tensors[f"t{number}"] = value.thumbnail
        fields = {
            name: getattr(value, name)
            for name in ("name", "shape", "dtype", "axes", "parameter", "source", "number")
        }
        statistics = None if value.array is not None else dataclasses.astuple(value.statistics)
        values.append({**fields, "statistics": statistics})
    rows = []
    for step in steps:
        fields = {
            field.name: getattr(step, field.name)
            for field in dataclasses.fields(Step)
            if field.name not in (*LISTS, *IN_MEMORY)
        }
        lists = {name: [numbers[id(v)] for v in getattr(step, name)] for name in LISTS}
        rows.append({**fields, **lists})
    text = json.dumps({**about, "steps": rows, "values": values})
    save_file(tensors, path, metadata={"kind": KIND, "trace": text})


def read_steps(path: str | os.PathLike[str]) -> tuple[list[Step], dict[str, Any]]:
    """Return the steps of a file, and the other fields of its JSON object.

    Raises CheckpointError for a file that is no record, or damaged.
    """
    with SafetensorsFile(path) as file:
        metadata = file.metadata or {}
        if metadata.get("kind") != KIND:
            raise CheckpointError(path, f"is not a {KIND!r} file; `trace.save` writes one")
        try:
            text = metadata["trace"]
            if len(text) > LONGEST:
                raise ValueError(f"has more than {LONGEST:,} characters of JSON")
            content = parse_json(text.encode())
            values = [_value(fields, n, file) for n, fields in enumerate(content["values"])]
            steps = [_step(fields, values) for fields in content["steps"]]
            for step in steps:
                if step.phase == BACKWARD and step.partner is not None:
                    step.forward = steps[step.partner]
            return steps, _about(content)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise CheckpointError(path, f"is a damaged record ({error})") from None


def _about(content: dict[str, Any]) -> dict[str, Any]:
    title, loss, tokens = (content.get(key) for key in ("title", "loss", "tokens"))
    rows = [list(row) for row in tokens or []]
    if not all(isinstance(token, str) for row in rows for token in row):
        raise ValueError("tokens must be texts")
    return {
        "shrunk": int(content["shrunk"]),
        "title": str(title or ""),
        "loss": None if loss is None else float(loss),
        "tokens": rows,
    }


def _value(fields: dict[str, Any], number: int, file: SafetensorsFile) -> Value:
    fields = dict(fields)
    statistics, source = fields.pop("statistics"), fields.pop("source")
    value = Value(
        **{**fields, "shape": tuple(fields["shape"])},
        source=None if source is None else (int(source[0]), int(source[1])),
        array=file.copy(f"v{number}") if f"v{number}" in file else None,
        thumbnail=file.copy(f"t{number}") if f"t{number}" in file else None,
        _statistics=None if statistics is None else Statistics(*statistics),
    )
    if value.array is None and value._statistics is None:
        raise ValueError(f"value {number} has neither numbers nor statistics")
    if value.array is not None and (value.array.shape, str(value.array.dtype)) != (
        value.shape, value.dtype,
    ):  # fmt: skip
        raise ValueError(f"value {number} is not of the shape and dtype that it should be")
    return value


def _step(fields: dict[str, Any], values: list[Value]) -> Step:
    lists = {name: [values[n] for n in fields[name]] for name in LISTS}
    return Step(**{**fields, **lists})
