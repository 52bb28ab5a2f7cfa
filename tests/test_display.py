"""Values and texts of others are shown bounded and without control characters."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert.checks import check_integer
from tinybert.display import short_repr, visible

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.sets(st.integers())
    ),
)


@given(VALUES, st.integers(1, 200))
def test_it_is_the_beginning_of_the_repr(value, length):
    """A cut text could be quoted otherwise, if only its end has a quote."""
    expected = repr(value)
    found = short_repr(value, length)
    assert found[: length - 1].replace('"', "'") == expected[: length - 1].replace('"', "'") or (
        "'" in expected
    )
    assert short_repr(value, 10**6) == expected


def bomb(depth):
    value = ["x"] * 9
    for _ in range(depth):
        value = [value] * 9
    return value


def test_no_value_is_too_large_to_show():
    cycle = []
    cycle.append(cycle)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert short_repr(bomb(30)).startswith("[" * 31 + "'x', 'x'")
    assert len(short_repr(bomb(30))) == 80
    assert short_repr(cycle) == short_repr(deep) == "[" * 80
    assert short_repr({"a": bomb(30)}, 20) == "{'a': [[[[[[[[[[[[[["
    assert short_repr(1 << 10**6) == "an integer of about 301030 digits"
    assert short_repr("x" * 10**8, 5) == "'xxxx"
    with pytest.raises(ValueError, match=r"size must be an integer >= 1, got \[\[\["):
        check_integer("size", bomb(30), 1)


def test_a_terminal_obeys_nothing():
    controls = [chr(i) for i in range(0x110000) if unicodedata.category(chr(i)) == "Cc"]
    text = "".join(controls) + "\u202e\u2066é東\u200f"
    shown = visible(text)
    assert shown.endswith("\\u202e\\u2066é東\u200f")  # a mark of direction reorders nothing
    assert not any(unicodedata.category(c) == "Cc" for c in shown)
    assert [c for c in visible(text, lines=True) if c in controls] == ["\t", "\n"]
    assert json.loads(f'"{visible(text)}"') == text
