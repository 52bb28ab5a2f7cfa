"""Text output for terminals: widths, shortened text and JSON."""

from __future__ import annotations

import io
import json
import sys

import pytest

from tinybert.cli.terminal import (
    columns_of,
    human_size,
    print_json,
    shorten,
    shorten_start,
    table,
    wrap,
)


def test_columns_that_characters_take() -> None:
    assert [columns_of(text) for text in ("abc", "東京", "é", "e\u0301", "🚀")] == [3, 4, 1, 1, 2]


def test_shorten() -> None:
    assert shorten("exactly", 7) == "exactly"
    assert shorten("one too many", 11) == "one too ma…"
    assert shorten("white\t\n space ", 20) == "white space"
    assert shorten("\x1b[31mred", 20) == "\\u001b[31mred"
    assert shorten("東京は日本", 7) == "東京は…"
    assert shorten_start("encoder.layer.0.bias", 10) == "…er.0.bias"
    for width in range(2, 12):
        assert columns_of(shorten("日本a語bcd漢字", width)) <= width


def test_table_aligns_wide_characters() -> None:
    lines = table(["a", "number"], [["東京", "1"], ["x", "20"]], "lr")
    assert lines == ["a     number", "東京       1", "x         20"]


def test_fold() -> None:
    assert wrap(["aa", "bb", "cccc"], 5) == ["aa bb", "cccc"]
    assert wrap(["toolongaword", "b"], 6, " · ") == ["toolo…", "b"]
    assert wrap([], 5) == [""]


def test_human_size() -> None:
    sizes = [0, 999, 1000, 90_868_376, 999_960_000, 4e12]
    shown = ["0 B", "999 B", "1.0 kB", "90.9 MB", "1.0 GB", "4.0 TB"]
    assert [human_size(size) for size in sizes] == shown


def test_json_is_compact_and_the_same(capsys) -> None:
    value = {"a": [[1, 2.5], [3, None]], "ü": {"b": []}, "c": [], "d": {"e": [{"f": "\n"}]}}
    print_json(value)
    shown = capsys.readouterr().out
    assert json.loads(shown) == value
    assert "    [1, 2.5],\n" in shown
    with pytest.raises(ValueError, match="JSON"):
        print_json([float("nan")])


def test_json_loses_nothing_where_the_encoding_lacks_characters(monkeypatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, "cp1252", errors="replace"))
    value = {"東京": ["café", "\N{PARTY POPPER}"]}
    print_json(value)
    sys.stdout.flush()
    assert json.loads(raw.getvalue()) == value
