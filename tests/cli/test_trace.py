"""`tinybert trace`: a page from the command line."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

import tinybert as tb
from tests.pipelines.twins import model_folder
from tests.trace.test_html import Scripts
from tinybert import load_trace
from tinybert.cli.main import main

__all__ = ["model_folder"]


@pytest.mark.parametrize("texts", [["a cat"], ["a cat", "a dog sat"]])
def test_a_page(tinybert, model_folder, tmp_path: Path, texts: list[str]) -> None:
    path = tmp_path / "page.html"
    folder = model_folder("BertModel")
    code, out, _ = tinybert("trace", *texts, "--html", path, "--model", folder, "--json")
    assert code == 0
    result = json.loads(out)
    index = Scripts(path.read_text("utf-8")).index
    assert result["bytes"] == {"html": path.stat().st_size}
    assert result["steps"] == len(index["steps"])
    assert [row[0] for row in index["tokens"]] == ["[CLS]"] * len(texts)
    assert [len(row) for row in index["ids"]] == [len(row) for row in index["tokens"]]
    assert {step["phase"] for step in index["steps"]} == {"forward", "backward"}


@pytest.fixture(scope="module")
def saved(model_folder, tmp_path_factory) -> Path:
    """The record of two texts."""
    path = tmp_path_factory.mktemp("record") / "two.trace"
    words = ["step", "a cat", "a dog sat", "--model", str(model_folder("BertModel"))]
    with redirect_stdout(io.StringIO()):
        assert main([*words, "--list", "--save", str(path)]) == 0
    return path


@pytest.mark.parametrize(
    "what",
    [
        "staircase",
        "gradients",
        *(pytest.param(w, marks=pytest.mark.slow) for w in ("attention", "5")),
    ],
)
def test_pictures(tinybert, saved, tmp_path: Path, what: str) -> None:
    """As SVG, with text as text, and as PNG."""
    png, svg = tmp_path / "p.png", tmp_path / "p.svg"
    ran = tinybert(
        "trace", "--from", saved, "--picture", what, "--png", png, "--svg", svg, "--json"
    )
    assert (ran.code, ran.err) == (0, "")
    sizes = {"png": png.stat().st_size, "svg": svg.stat().st_size}
    assert json.loads(ran.out)["bytes"] == sizes
    assert png.read_bytes().startswith(b"\x89PNG")
    root = ElementTree.fromstring(svg.read_text("utf-8"))
    texts = "".join(
        text for e in root.iter("{http://www.w3.org/2000/svg}text") for text in e.itertext()
    )
    trace = load_trace(saved)
    expected = {
        "staircase": f"{trace[5].number} {trace[5].operation}", "attention": "attention weight",
        "gradients": trace.backward[3].path, "5": f"step 5, forward: {trace[5].path}",
    }  # fmt: skip
    assert expected[what] in texts
    assert np.ptp(imread(png)[..., :3]) > 0.5


def test_the_weights_of_one_head(tinybert, saved, tmp_path: Path, monkeypatch) -> None:
    """Layer, head and row of the batch; the tokens name the axes."""
    drawn: list[np.ndarray] = []
    draw = Axes.imshow
    monkeypatch.setattr(Axes, "imshow", lambda self, x, **o: drawn.append(x) or draw(self, x, **o))
    where = ["--layer", 1, "--head", 2, "--row", 1]
    call = ["trace", "--from", saved, "--picture", "attention", *where]
    assert tinybert(*call, "--svg", tmp_path / "head.svg").code == 0
    trace = load_trace(saved)
    softmax = [step for step in trace.forward if step.operation == "Softmax"]
    np.testing.assert_array_equal(drawn[0], softmax[1].outputs[0].array[1, 2])
    text = (tmp_path / "head.svg").read_text("utf-8")
    assert "layer 1, head 2" in text
    named = [escape(token) for token in trace.tokens[1]]
    assert all(text.count(f">{name}</text>") == 2 * named.count(name) for name in named)


def test_arguments_of_pictures(refused, saved, tmp_path: Path) -> None:
    """All but numbers that depend on the record are refused before anything is recorded."""
    svg = ["--svg", tmp_path / "x.svg"]
    record = ["trace", "--from", saved]
    assert "nothing to save: give --html FILE, or --png" in refused("trace", "a")
    assert "--picture needs --png FILE or --svg FILE" in refused("trace", "a", "--picture", "3")
    assert "--svg must end in .svg" in refused("trace", "a", "--svg", "x.png", "--picture", "3")
    assert "--png and --svg need --picture: staircase" in refused("trace", "a", *svg)
    for words, message in {
        "moon": "--picture must be staircase, attention, gradients or the number of a step",
        "9999": "--picture must be a step from 0 to",
        "attention --layer 9": "--layer must be from 0 to 1, got 9",
        "attention --head 9": "--head must be from 0 to 2, got 9",
        "attention --head -1": "--head must be an integer >= 0",
        "attention --row 2": "--row must be less than 2, the size of the batch, got 2",
        "staircase --layer 0": "--layer is an option of --picture attention",
        "gradients --head 0": "--head is an option of --picture attention, and of a step",
    }.items():
        assert message in refused(*record, *svg, "--picture", *words.split())


def test_records_without_what_is_drawn(refused, tmp_path: Path) -> None:
    with tb.record() as trace:
        tb.Tensor([1.0]).exp()
    trace.save(tmp_path / "bare")
    call = ["trace", "--from", tmp_path / "bare", "--svg", tmp_path / "x.svg", "--picture"]
    assert "the record has no attention weights" in refused(*call, "attention")
    assert "nothing was differentiated" in refused(*call, "gradients")


def test_what_is_refused(refused, model_folder, tmp_path: Path) -> None:
    assert "--html" in refused("trace", "a cat")
    assert "--html must end in .html" in refused("trace", "a cat", "--html", "page.png")
    nowhere = tmp_path / "nowhere" / "page.html"
    assert "does not exist" in refused("trace", "a cat", "--html", nowhere)
    folder = model_folder("BertModel")
    wrong = refused("trace", "a", "b", "c", "--html", tmp_path / "x.html", "--model", folder)
    assert "takes one text or two, got 3" in wrong
