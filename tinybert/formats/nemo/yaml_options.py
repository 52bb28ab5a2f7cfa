"""The options in a YAML file: its top-level names with a single value each, read in linear time.

YAML is larger than what options need: aliases that expand a kilobyte to gigabytes, objects of
Python, numbers to the base of 60, mappings as names. So only the events of PyYAML's parser are
used: a list or mapping is not built, whatever it has inside; its value is NESTED.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NESTED = "(nested options)"
_MAX_DEPTH = 100
_MAX_NUMBER = 100  # characters


def read_options(text: str) -> dict[str, Any]:
    """Return the options of a YAML text.

    Raises ValueError with the fault in one line, and ImportError if PyYAML is missing.
    """
    import yaml  # type: ignore[import-untyped]

    loader = yaml.SafeLoader("")
    try:
        top, *values = _values(yaml, loader, text)
    except Exception as error:  # PyYAML raises many kinds for malicious texts
        reason = str(error) or type(error).__name__
        raise ValueError(f"is not valid YAML: {reason.splitlines()[0]}") from error
    finally:
        loader.dispose()
    if top != "mapping":
        raise ValueError(f"must be a mapping of options, got {top}")
    pairs = zip(values[::2], values[1::2], strict=True)
    return {name: value for name, value in pairs if isinstance(name, str)}


def _values(yaml: Any, loader: Any, text: str) -> Iterator[Any]:
    """Yield the kind of the document, then its names and their values in turn."""
    depth, found = 0, False
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if not isinstance(event, yaml.NodeEvent):
            continue
        if depth == 0:
            if found:
                raise ValueError("it has more than one document")
            found = True
            yield type(event).__name__.removesuffix("StartEvent").removesuffix("Event").lower()
        elif depth == 1:
            yield _value(yaml, loader, event)
        depth += isinstance(event, yaml.CollectionStartEvent)
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested over {_MAX_DEPTH} deep")
    if not found:
        yield "nothing"


def _value(yaml: Any, loader: Any, event: Any) -> Any:
    if isinstance(event, yaml.AliasEvent) or getattr(event, "value", "") == "<<":
        raise ValueError("an alias or merged mapping is not supported as an option")
    if not isinstance(event, yaml.ScalarEvent):
        return NESTED
    tag = event.tag
    if tag in (None, "!"):
        tag = loader.resolve(yaml.ScalarNode, event.value, event.implicit)
    if len(event.value) > _MAX_NUMBER and tag.endswith((":int", ":float")):
        raise ValueError(f"a number has {len(event.value)} characters")
    return loader.construct_object(yaml.ScalarNode(tag, event.value))
