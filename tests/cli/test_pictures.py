"""`tinybert plot attention`, `embeddings` and `graph`: the drawn numbers are the model's."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from matplotlib.axes import Axes

import tinybert as tb
from tests.models.mega_oracle import mega_config
from tests.trace.test_html import Scripts, decoded
from tinybert.cli.embedding_map import _overlaps
from tinybert.cli.principal_components import principal_components

TEXT = "The cat slept because it was tired."
SIGNATURES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The matrices that are drawn."""
    found: list[np.ndarray] = []
    draw = Axes.imshow
    monkeypatch.setattr(Axes, "imshow", lambda self, x, **o: found.append(x) or draw(self, x, **o))
    return found


@pytest.fixture
def mega(tmp_path: Path, minilm: Path) -> Path:
    """A small MEGA with chunks, and a tokenizer."""
    folder = tmp_path / "mega"
    tb.manual_seed(0)
    config = mega_config(vocab_size=30522, use_chunking=True, chunk_size=4, max_positions=16)
    tb.MegaModel(config).save_pretrained(folder)
    tb.AutoTokenizer.from_pretrained(minilm).save_pretrained(folder)
    return folder


# --- attention -----------------------------------------------------------------------------------


def test_all_heads(tinybert: Any, minilm: Path, tmp_path: Path, drawn: list[np.ndarray]) -> None:
    """The weights, as transformers computes them, are in the picture and in the JSON."""
    theirs = transformers.BertModel.from_pretrained(minilm, attn_implementation="eager")
    words = transformers.AutoTokenizer.from_pretrained(minilm)(TEXT, return_tensors="pt")
    expected = [layer[0].numpy(force=True) for layer in theirs(**words, output_attentions=True)[-1]]
    picture = tmp_path / "heads.png"
    call = ("plot", "attention", TEXT, "--model", "minilm", "--output", picture, "--json")
    ran = tinybert(*call)
    assert (ran.code, ran.err) == (0, "")
    shown = json.loads(ran.out)
    assert shown["tokens"] == ["[CLS]", *TEXT.lower()[:-1].split(), ".", "[SEP]"]
    assert len(shown["attention"]) == 6 * 12
    for head in shown["attention"]:
        weights = expected[head["layer"]][head["head"]]
        assert np.allclose(head["weights"], weights, atol=1e-5)
    (joined,) = drawn
    size, step = 10, 11  # tokens, and a gap
    assert joined.shape == (6 * step - 1, 12 * step - 1)
    for layer, head in np.ndindex(6, 12):
        part = joined[layer * step :, head * step :][:size, :size]
        assert np.allclose(part, expected[layer][head], atol=1e-5)
    assert np.isnan(joined[size]).all()
    assert picture.read_bytes().startswith(SIGNATURES["png"])


def test_a_page_of_attention(
    tinybert: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mega: Path
) -> None:
    """All heads in a page that begins at the one that is asked for; matplotlib is not needed."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    path = tmp_path / "heads.html"
    chosen = ("--layer", 3, "--head", 1, "--output", path, "--json")
    (head,) = json.loads(tinybert("plot", "attention", TEXT, *chosen).out)["attention"]
    read = Scripts(path.read_text("utf-8"))
    index = read.index
    assert index["tokens"] == [["[CLS]", *TEXT.lower()[:-1].split(), ".", "[SEP]"]]
    number = index["attention"][3]
    body = next(attrs for tag, attrs in read.kinds if tag == "body")
    assert body["data-place"] == f"step={number}&head=1&screen=attention"
    value = index["values"][index["steps"][number]["outputs"][0]]
    np.testing.assert_allclose(decoded(read, value)[0, 1], head["weights"], atol=1e-5)
    call = ("plot", "attention", TEXT, "--model", mega, "--output", path)
    assert tinybert(*call).code == 0
    assert len(Scripts(path.read_text("utf-8")).index["attention"]) == 2


@pytest.mark.parametrize(
    "ending",
    [pytest.param(e, marks=[pytest.mark.slow] * (e != "png")) for e in SIGNATURES],
)
def test_one_head_and_one_layer(
    tinybert: Any, tmp_path: Path, drawn: list[np.ndarray], ending: str
) -> None:
    picture = tmp_path / f"head.{ending}"
    chosen = ("--layer", 3, "--head", 1)
    ran = tinybert("plot", "attention", TEXT, *chosen, "--output", picture, "--json")
    (head,) = json.loads(ran.out)["attention"]
    assert np.allclose(drawn[0], head["weights"], atol=1e-6)
    assert (head["layer"], head["head"], len(drawn)) == (3, 1, 1)
    assert picture.read_bytes().startswith(SIGNATURES[ending])
    drawn.clear()
    ran = tinybert("plot", "attention", TEXT, "--layer", 3, "--output", picture, "--json")
    heads = json.loads(ran.out)["attention"]
    assert [h["head"] for h in heads] == list(range(12))
    assert np.allclose(drawn, [h["weights"] for h in heads], atol=1e-6)


def test_the_table_finds_the_noun(tinybert: Any) -> None:
    """The head of the pronoun: "it" attends to its noun."""
    text = "The animal didn't cross the street because it was too tired."
    ran = tinybert("plot", "attention", text, "--token", "it")
    rows = [line.split() for line in ran.out.splitlines()]
    assert rows[0] == ["layer", "head", "weight", "token", "attends", "to"]
    assert rows[1] == ["5", "11", "0.818", "it", "animal"]
    weights = [float(row[2]) for row in rows[1:]]
    assert weights == sorted(weights, reverse=True)
    assert {row[3] for row in rows[1:]} == {"it"}


def test_options_may_come_before_the_text(tinybert: Any) -> None:
    chosen = ("--layer", 3, "--head", 1, "--json")
    before, after = ((*chosen, TEXT), (TEXT, *chosen))
    assert tinybert("plot", "attention", *before) == tinybert("plot", "attention", *after)
    assert tinybert("plot", *chosen[:4], "attention", TEXT).code == 0


def test_chunks_of_mega(tinybert: Any, mega: Path, tmp_path: Path, drawn: list[np.ndarray]) -> None:
    """Each chunk attends to itself; the padding of the last one is not shown."""
    call = ("plot", "attention", TEXT, "--model", mega, "--json", "--output", tmp_path / "m.svg")
    shown = json.loads(tinybert(*call).out)
    assert len(shown["tokens"]) == 10
    weights = np.array(shown["attention"][0]["weights"], float)
    blocks = np.arange(10) // 4
    inside = blocks[:, None] == blocks
    assert (np.isnan(weights) == ~inside).all()
    assert np.allclose(np.nansum(weights[:8], axis=1), 1, atol=1e-4)
    model = tb.MegaModel.from_pretrained(mega)
    ids = tb.AutoTokenizer.from_pretrained(mega)(
        TEXT, padding="max_length", max_length=12, return_tensors="np"
    )
    ours = model(ids["input_ids"], ids["attention_mask"], output_attentions=True).attentions[0]
    assert np.allclose(weights[4:8, 4:8], ours.numpy()[0, 1], atol=1e-5)
    assert np.allclose(drawn[0][4:8, 4:8], ours.numpy()[0, 1], atol=1e-5)


# --- embeddings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 5), (3, 11)])
def test_principal_components(shape: tuple[int, int]) -> None:
    """Against the eigenvectors of the covariance matrix."""
    x = np.random.default_rng(0).standard_normal(shape) * 3 + 5
    points, shares = principal_components(x)
    variances, vectors = np.linalg.eigh(np.cov(x.T))
    expected = (x - x.mean(0)) @ vectors[:, ::-1][:, :2]
    assert np.allclose(np.abs(points), np.abs(expected))
    assert np.allclose(shares, variances[::-1][:2] / variances.sum())
    assert np.allclose(principal_components(-x)[0], -points)  # the sign does not depend on chance


def test_points(tinybert: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["A cat sat.", "A kitten was sitting.", "Rain again.", "It is snowing.", "$5 & $6"]
    (tmp_path / "texts.txt").write_text("\n".join(texts[1:]))
    drawn: list[Any] = []
    scatter = Axes.scatter
    monkeypatch.setattr(Axes, "scatter", lambda a, *x, **o: drawn.append(x) or scatter(a, *x, **o))
    call = ("plot", "embeddings", texts[0], "--file", tmp_path / "texts.txt")
    shown = json.loads(tinybert(*call, "--output", tmp_path / "p.svg", "--json").out)
    assert shown["texts"] == texts
    vectors = np.array(json.loads(tinybert("embed", *texts, "--json").out)["embeddings"])
    points, shares = principal_components(vectors)
    assert np.allclose(shown["points"], points, atol=1e-5)
    assert np.allclose(shown["explained_variance"], shares, atol=1e-5)
    assert np.allclose(drawn[0], points.T, atol=1e-5)
    out = tinybert(*call).out.splitlines()
    assert out[1].split()[3:] == ["A", "cat", "sat."]
    assert out[-1] == f"explained variance: x {100 * shares[0]:.0f} %, y {100 * shares[1]:.0f} %"


def test_labels_are_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tinybert.cli import embedding_map

    boxes: list[np.ndarray] = []
    overlaps = embedding_map._overlaps
    monkeypatch.setattr(
        embedding_map,
        "_overlaps",
        lambda box, others: boxes.append(others) or overlaps(box, others),
    )
    points = np.random.default_rng(0).standard_normal((15, 2))
    texts = [f"a text of some words, number {n}" for n in range(15)]
    embedding_map.save_points(tmp_path / "p.png", texts, points, np.array([0.5, 0.2]))
    last = boxes[-1]
    assert len(last) == 15 + 14  # the points, and all labels but the last
    for n, box in enumerate(last):
        assert overlaps(box, np.delete(last, n, axis=0)).sum() == 0
    assert _overlaps(np.array([0, 0, 2, 2]), np.array([[1, 1, 3, 4]])).tolist() == [1]


# --- graph ---------------------------------------------------------------------------------------


def test_graph(tinybert: Any, minilm: Path, tmp_path: Path) -> None:
    picture = tmp_path / "graph.svg"
    ran = tinybert("plot", "graph", TEXT, "--model", "minilm", "--output", picture, "--json")
    assert (ran.code, ran.err) == (0, "")
    shown = json.loads(ran.out)
    names = [box["name"] for box in shown["boxes"]]
    assert names[6:9] == [f"encoder.layer.0.{n}" for n in ("attention", "intermediate", "output")]
    arrow = {"from": 7, "to": 8, "shape": [1, 10, 1536], "axes": "BTF"}
    assert arrow in shown["arrows"]
    assert {"from": 6, "to": 8, "shape": [1, 10, 384], "axes": "BTD"} in shown["arrows"]
    layer = tb.BertModel.from_pretrained(minilm).encoder.layer[0]
    assert shown["boxes"][7]["parameters"] == layer.intermediate.num_parameters()
    assert shown["boxes"][7]["operations"] == ["Linear", "Gelu"]
    assert picture.read_bytes().startswith(SIGNATURES["svg"])
    out = tinybert("plot", "graph", TEXT, "--model", "minilm", "--depth", 1).out.splitlines()
    assert [line.split()[0] for line in out[1:4]] == ["embeddings", "encoder", "pooler"]
    assert out[-1] == "3 boxes, 4 arrows, --depth 1"


def test_every_step_of_mega(tinybert: Any, mega: Path, tmp_path: Path) -> None:
    picture = tmp_path / "graph.png"
    ran = tinybert("plot", "graph", TEXT, "--model", mega, "--depth", 9, "--output", picture)
    assert (ran.code, ran.err) == (0, "")
    assert picture.read_bytes().startswith(SIGNATURES["png"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("attention",), "plot attention takes one TEXT in quotes, got 0"),
        (("attention", "The", "cat"), "plot attention takes one TEXT in quotes, got 2"),
        (("attention", TEXT, "--layer", "6"), "--layer must be from 0 to 5, got 6: 6 layers"),
        (("attention", TEXT, "--head", "-1"), "--head must be an integer >= 0, got -1"),
        (("attention", TEXT, "--token", "dog"), "--token must be one of [CLS] the cat"),
        (("attention", TEXT, "--depth", "2"), "--depth is an option of graph, not of attention"),
        (("attention", "word " * 200), "plot attention shows 1 to 160 tokens, got 202"),
        (("attention", TEXT, "--output", "a.gif"), "--output must end in .png"),
        (("embeddings", "one", "two"), "plot embeddings needs 3 to 2000 texts, got 2"),
        (("embeddings", "one", "one", "one"), "all have the same embedding"),
        (("graph", TEXT, "--depth", "0"), "--depth must be an integer >= 1, got 0"),
        (("graph", TEXT, "--file", "a"), "--file is an option of embeddings, not of graph"),
        (("loss", "--model", "minilm"), "--model is an option of attention and embeddings and"),
        (("graph", TEXT, "--model", "nowhere"), "nowhere"),
    ],
)
def test_what_is_refused(refused: Any, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("plot", *arguments)
