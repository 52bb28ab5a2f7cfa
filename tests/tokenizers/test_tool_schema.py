"""Functions as tools of a chat template, against transformers."""

from __future__ import annotations

from typing import Any, Literal, Optional, Union

import pytest
from transformers.utils import get_json_schema

from tinybert.tokenizers.tool_schema import tool_schema


def weather(city: str, days: int = 1, unit: Literal["C", "F"] = "C") -> float:
    """Tell the weather
    of a city.

    Args:
        city: Its name: without
            the country
        days: How many
        unit: One of two

    Returns:
        The temperature

    Raises:
        ValueError: never
    """
    raise NotImplementedError


def everything(
    numbers: list[float],
    rows: list[list[int]],
    table: dict[str, bool],
    pair: tuple[int, str],
    maybe: Optional[int],  # noqa: UP045
    either: Union[int, str],  # noqa: UP007
    new: int | None,
    mixed: list[int] | str,
    anything: Any,
    mapping: dict,
    drink: str,
    level: Literal[1, "a", None] = 1,
):  # type: ignore[no-untyped-def]
    """Takes everything.

    Args:
        numbers: a
        rows: b
        table: c
        pair: d
        maybe: e
        either: f
        new: g
        mixed: h
        anything: i
        mapping: k
        drink: A drink (choices: ["tea ", "coffee"])
        level: l
    """


def nothing() -> None:
    """Do nothing."""


class Shop:
    def buy(self, what: str) -> None:
        """Buy something.

        Args:
            what: The thing
        """


@pytest.mark.parametrize("function", [weather, everything, nothing, Shop().buy])
def test_the_schema_of_transformers(function: Any) -> None:
    found, expected = tool_schema(function), get_json_schema(function)
    assert found == expected
    assert list(found["function"]) == list(expected["function"])


def test_a_list_without_a_type_is_an_array() -> None:
    def sort(values: list) -> None:  # type: ignore[type-arg]
        """Sort.

        Args:
            values: what to sort
        """

    name = tool_schema(sort)["function"]["parameters"]["properties"]["values"]["type"]
    other = get_json_schema(sort)["function"]["parameters"]["properties"]["values"]["type"]
    assert (name, other) == ("array", "object")


def without_annotation(a) -> None:  # type: ignore[no-untyped-def]
    """Take a.

    Args:
        a: it
    """


def without_line(a: int) -> None:
    """Take a."""


def without_docstring(a: int) -> None:
    pass


def with_any_number(a: tuple[int, ...]) -> None:
    """Take a.

    Args:
        a: them
    """


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (without_annotation, "its argument 'a' needs a type annotation"),
        (without_line, "its argument 'a' needs a line in \"Args:\""),
        (without_docstring, "it needs a docstring"),
        (with_any_number, "use list for any number"),
    ],
)
def test_functions_that_are_refused(function: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"tools: {function.__name__} .*{message}"):
        tool_schema(function)
