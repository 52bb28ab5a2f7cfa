"""`tinybert trace`: a page from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipelines.twins import model_folder
from tests.trace.test_html import Scripts

__all__ = ["model_folder"]


@pytest.mark.parametrize("texts", [["a cat"], ["a cat", "a dog sat"]])
def test_a_page(tinybert, model_folder, tmp_path: Path, texts: list[str]) -> None:
    path = tmp_path / "page.html"
    folder = model_folder("BertModel")
    code, out, _ = tinybert("trace", *texts, "--html", path, "--model", folder, "--json")
    assert code == 0
    result = json.loads(out)
    index = Scripts(path.read_text("utf-8")).index
    assert result["bytes"] == path.stat().st_size
    assert result["steps"] == len(index["steps"])
    assert [row[0] for row in index["tokens"]] == ["[CLS]"] * len(texts)
    assert [len(row) for row in index["ids"]] == [len(row) for row in index["tokens"]]
    assert {step["phase"] for step in index["steps"]} == {"forward", "backward"}


def test_what_is_refused(refused, model_folder, tmp_path: Path) -> None:
    assert "--html" in refused("trace", "a cat")
    assert "--html must end in .html" in refused("trace", "a cat", "--html", "page.png")
    nowhere = tmp_path / "nowhere" / "page.html"
    assert "does not exist" in refused("trace", "a cat", "--html", nowhere)
    folder = model_folder("BertModel")
    wrong = refused("trace", "a", "b", "c", "--html", tmp_path / "x.html", "--model", folder)
    assert "takes one text or two, got 3" in wrong
