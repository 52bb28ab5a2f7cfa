"""The objects of a tokenizer.json, with every field checked when it is read.

A fault is a ValueError that names the path in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

REQUIRED = object()
MAX_DEPTH = 20  # of nested parts
MAX_ID = 2**31 - 1
MAX_CONTENT = 256  # characters that a part inserts at one position
KINDS: dict[type, str] = {
    bool: "true or false",
    int: "an integer >= 0",
    str: "a string",
    dict: "an object",
}


class Fields:
    """One object of the file, and the path to it, such as "pre_tokenizer.pretokenizers[1]"."""

    def __init__(self, value: Any, where: str, depth: int = 0) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be an object, got {value!r:.80}")
        if depth > MAX_DEPTH:
            raise ValueError(f"{where}: parts must not be nested more than {MAX_DEPTH} times")
        self.value, self.where, self.depth = value, where, depth

    def get(self, name: str, kind: type[T], default: Any = REQUIRED) -> T:
        """Return a field of this type; the default, if there is one, if it is null or missing.

        Numbers must not be negative.
        """
        value = self.value.get(name)
        if value is None and default is not REQUIRED:
            return default
        if (
            not isinstance(value, kind)
            or (isinstance(value, bool) and kind is not bool)
            or (isinstance(value, int) and value < 0)
        ):
            expected = KINDS.get(kind, f"a {kind.__name__}")
            raise ValueError(f"{self.where}.{name} must be {expected}, got {value!r:.80}")
        return value

    def id(self, name: str) -> int:
        """Return a field that is an id, of a token or a type."""
        value = self.get(name, int)
        if value > MAX_ID:
            raise ValueError(f"{self.where}.{name} must be at most {MAX_ID}, got {value}")
        return value

    def choice(self, name: str, allowed: tuple[str, ...], default: Any = REQUIRED) -> str:
        """Return a field that is one of the allowed strings."""
        value = self.get(name, str, default)
        if value not in allowed:
            raise ValueError(
                f"{self.where}.{name} must be one of {', '.join(map(repr, allowed))}, "
                f"got {value!r:.80}"
            )
        return value

    def char(self, name: str, default: Any = REQUIRED) -> str:
        """Return a field that is one character."""
        value = self.get(name, str, default)
        if len(value) != 1:
            raise ValueError(f"{self.where}.{name} must be one character, got {value!r:.80}")
        return value

    def content(self, name: str, default: Any = REQUIRED) -> str:
        """Return a field whose text is inserted; ValueError if it is too long."""
        value = self.get(name, str, default)
        if len(value) > MAX_CONTENT:
            raise ValueError(f"{self.where}.{name} may have {MAX_CONTENT} characters at most")
        return value

    def parts(self, name: str) -> list[Fields]:
        """Return a field that is a list of objects."""
        values = self.get(name, list)
        return [
            Fields(value, f"{self.where}.{name}[{i}]", self.depth + 1)
            for i, value in enumerate(values)
        ]

    def build(self, known: Mapping[str, Callable[[Fields], T]]) -> T:
        """Call the function for the type of this object, and return its result.

        Raises ValueError for an unknown type, naming it and the known ones.
        """
        kind = self.value.get("type")
        if not isinstance(kind, str) or kind not in known:
            raise ValueError(
                f"{self.where}: unknown type {kind!r:.80}; known are {', '.join(sorted(known))}"
            )
        return known[kind](self)
