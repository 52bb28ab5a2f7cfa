"""Describe a Python function as a tool: the JSON schema that chat templates show to a model.

The schema is that of `get_json_schema` in transformers: types from the annotations of the
arguments, descriptions from a docstring with a section "Args:" (Google style).
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Schema = dict[str, Any]

TYPES: dict[Any, Schema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    Any: {},
}
SECTIONS = re.compile(r"^\s*(Args|Returns|Raises):[ \t]*$", re.MULTILINE)
ARGUMENT = re.compile(r"^\s*(\w+):(?=\s)", re.MULTILINE)
CHOICES = re.compile(r"\s*\(choices:\s*(.*?)\)\s*$", re.IGNORECASE)


def tool_schema(function: Callable[..., Any]) -> Schema:
    """Return the schema {"type": "function", "function": {name, description, parameters, ...}}.

    An argument without a default is required. A description that ends with
    (choices: ["a", "b"]) names the values that are allowed.

    Raises TypeError, naming the function and the argument, if an annotation or a description is
    missing or has another form.
    """
    name = getattr(function, "__name__", type(function).__name__)
    try:
        parameters = inspect.signature(function).parameters
        hints = get_type_hints(function)
        description, arguments, returns = _read_docstring(inspect.getdoc(function) or "")
        if not description:
            raise ValueError("it needs a docstring that says what it does")
        properties = {}
        for argument in parameters:
            if argument not in hints or argument not in arguments:
                what = "a type annotation" if argument not in hints else 'a line in "Args:"'
                raise ValueError(f"its argument {argument!r} needs {what}")
            properties[argument] = _schema_of(hints[argument]) | _described(arguments[argument])
        found: Schema = {"type": "object", "properties": properties}
        required = [p.name for p in parameters.values() if p.default is p.empty]
        if required:
            found["required"] = required
        tool: Schema = {"name": name, "description": description, "parameters": found}
        if "return" in hints:
            tool["return"] = _schema_of(hints["return"])
            if returns:
                tool["return"]["description"] = returns
    except (NameError, TypeError, ValueError) as error:
        raise TypeError(f"tools: {name} cannot be described as a tool: {error}") from error
    return {"type": "function", "function": tool}


def _schema_of(hint: Any) -> Schema:
    """Return the schema of a type annotation."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _schema_of_union(inner)
    if origin is Literal:
        kinds = dict.fromkeys(TYPES[type(value)]["type"] for value in inner)
        return {"type": next(iter(kinds)) if len(kinds) == 1 else [*kinds], "enum": [*inner]}
    if origin is list:
        return {"type": "array", "items": _schema_of(inner[0])}
    if origin is tuple:
        if len(inner) < 2 or ... in inner:
            raise ValueError(f"{hint} is not supported; use list for any number of values")
        return {"type": "array", "prefixItems": [_schema_of(part) for part in inner]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema_of(inner[1])}
    if origin is not None:
        raise ValueError(f"the annotation {hint} is not supported")
    return dict(TYPES.get(hint, {"type": "object"}))


def _schema_of_union(kinds: tuple[Any, ...]) -> Schema:
    schemas = [_schema_of(kind) for kind in kinds if kind is not type(None)]
    if len(schemas) == 1:
        found = schemas[0]
    elif all(isinstance(schema.get("type"), str) for schema in schemas):
        found = {"type": sorted(schema["type"] for schema in schemas)}
    else:
        found = {"anyOf": schemas}
    return found | {"nullable": True} if type(None) in kinds else found


def _described(text: str) -> Schema:
    """Return the description of an argument, and the choices at its end."""
    choices = CHOICES.search(text)
    if choices is None:
        return {"description": text}
    values = json.loads(choices.group(1))
    return {"enum": [value.strip() for value in values], "description": text[: choices.start()]}


def _read_docstring(text: str) -> tuple[str, dict[str, str], str]:
    """Return the description, the description of each argument, and that of the result."""
    description, *rest = SECTIONS.split(text)
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    _, *parts = ARGUMENT.split(sections.get("Args", ""))
    arguments = {name: _joined(part) for name, part in zip(parts[::2], parts[1::2], strict=True)}
    return description.strip(), arguments, sections.get("Returns", "").strip()


def _joined(text: str) -> str:
    """Return lines as one."""
    return re.sub(r"\s*\n\s*", " ", text.strip())
