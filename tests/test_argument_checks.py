"""The checks of arguments that every part of the package shares."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tinybert.checks import check_choice, check_flag, check_integer, check_number


@pytest.mark.parametrize("value", [1, 7, np.int64(1)])
def test_integers(value: Any) -> None:
    check_integer("n", value, 1)


@pytest.mark.parametrize("value", [0, -1, True, 1.0, np.float32(1), "1", None])
def test_what_is_not_such_an_integer(value: Any) -> None:
    with pytest.raises(ValueError, match=r"n must be an integer >= 1, got "):
        check_integer("n", value, 1)


@pytest.mark.parametrize("value", [0, 0.5, 1, np.float32(0.25), np.int8(1)])
def test_numbers(value: Any) -> None:
    check_number("p", value, most=1)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, True, "0.5", None, 1j])
def test_what_is_not_such_a_number(value: Any) -> None:
    with pytest.raises(ValueError, match=r"p must be a number from 0 to 1, got "):
        check_number("p", value, most=1)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 10**400, np.float32("inf")])
def test_a_number_without_a_limit_is_finite(value: float) -> None:
    check_number("lr", 1e300)
    with pytest.raises(ValueError, match=r"lr must be a number >= 0, got "):
        check_number("lr", value)


def test_none_is_allowed_where_it_is_said() -> None:
    check_integer("n", None, 1, optional=True)
    check_number("p", None, optional=True)
    with pytest.raises(ValueError, match="n must be an integer >= 1 or None, got 0"):
        check_integer("n", 0, 1, optional=True)


def test_flags_and_choices() -> None:
    check_flag("on", False)
    check_choice("side", "left", ("left", "right"))
    with pytest.raises(ValueError, match="on must be True or False, got 'yes'"):
        check_flag("on", "yes")
    with pytest.raises(ValueError, match="side must be one of 'left', 'right', got 'up'"):
        check_choice("side", "up", ("left", "right"))
