"""The page of a record, read without a browser: it holds what the record holds, and no more."""

from __future__ import annotations

import base64
import itertools
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.trace.test_record import FAMILIES, IDS, MASK, model_of, recorded
from tinybert.trace import Trace, Value, load_trace, record
from tinybert.trace.flow import forks, token_norms
from tinybert.trace.html import arrays
from tinybert.trace.html.page import attention_steps, page
from tinybert.trace.steps import distinct_values
from tinybert.trace.values import Statistics, thumbnail
from tinybert.trace.walk import Walk

DTYPES = {"f2": np.float16, "f4": np.float32, "f8": np.float64, "i4": np.int32}


class Scripts(HTMLParser):
    """The elements of a page, as a browser sees them, and the text of each <script>."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: dict[str, str] = {}
        self.kinds: list[tuple[str, dict[str, Any]]] = []
        self._id: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.kinds.append((tag, dict(attrs)))
        self._id = dict(attrs).get("id", "code") if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._id is not None:
            self.scripts[self._id] = self.scripts.get(self._id, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._id = None

    @property
    def index(self) -> dict[str, Any]:
        return json.loads(self.scripts["index"])


def decoded(read: Scripts, row: dict[str, Any]) -> np.ndarray:
    """The numbers of a value, as the browser reads them."""
    raw = zlib.decompress(base64.b64decode(read.scripts[f"a{row['block']}"]), -zlib.MAX_WBITS)
    numbers = np.frombuffer(raw, DTYPES[row["form"]]).astype(np.float64)
    return np.ldexp(numbers, row.get("exponent", 0)).reshape(row.get("stored", row["shape"]))


def assert_holds(read: Scripts, trace: Trace, rtol: float) -> None:
    """Every step and every value of the page is the record's."""
    index = read.index
    values = list(distinct_values(trace.steps))
    places = {id(value): number for number, value in enumerate(values)}
    for value, row in zip(values, index["values"], strict=True):
        assert (row["name"], tuple(row["shape"]), row["dtype"]) == (
            value.name, value.shape, value.dtype,
        )  # fmt: skip
        assert (row["axes"], row["parameter"]) == (value.axes, value.parameter)
        found = Statistics(*(float(x) for x in row["statistics"]))
        assert found == value.statistics
        expected = value.array if "stored" not in row else thumbnail(value.array)
        assert expected.shape == tuple(row.get("stored", row["shape"]))
        numbers = decoded(read, row)
        sizes = np.abs(expected.astype(np.float64))
        peak = sizes[sizes < 1e30].max(initial=0.0)  # the numbers of a mask aside
        error = 2.0**-11 if "stored" in row else rtol
        np.testing.assert_allclose(numbers, expected, rtol=error, atol=error * peak * 2.0**-28)
    for step, row in zip(trace, index["steps"], strict=True):
        assert (row["phase"], row["operation"], row["path"]) == (
            step.phase, step.operation, step.path,
        )  # fmt: skip
        assert (row["partner"], row["place"]) == (step.partner, step.place)
        assert index["texts"][row["code"]] == step.code
        for name in ("inputs", "outputs", "saved"):
            assert row[name] == [places[id(value)] for value in getattr(step, name)]
        if step.phase != "update":
            assert index["texts"][row["formula"]] == trace.formula(step) != ""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_page_holds_the_record(family: str) -> None:
    _, trace, _ = recorded(family)
    read = Scripts(page(trace))
    assert read.index["exact"]
    assert_holds(read, trace, 0)


def test_rounded_to_half_precision_when_there_is_no_room(monkeypatch) -> None:
    """Gradients (1e-6) keep 11 bits: arrays are scaled. Those with masks (-3e38) are exact."""
    _, trace, _ = recorded("Bert")
    monkeypatch.setattr(arrays, "SMALL", 0)
    monkeypatch.setattr(arrays, "LIMIT", 90_000)
    read = Scripts(page(trace))
    assert not read.index["exact"]
    assert read.index["reduced"] == 0
    rows = read.index["values"]
    assert min(row.get("exponent", 0) for row in rows if row["form"] == "f2") < -25
    assert any(row["statistics"][2] < -1e38 and len(row["shape"]) == 4 for row in rows)
    assert_holds(read, trace, 2.0**-11)


@pytest.mark.parametrize(
    ("limit", "exact", "reduced"), [(500_000, True, 0), (250_000, False, 0), (200_000, False, 1)]
)
def test_the_size_is_bounded(limit: int, exact: bool, reduced: int, monkeypatch) -> None:
    """First arrays are rounded; then the largest, one of 120 kB, becomes a thumbnail."""
    noise = np.random.default_rng(0).standard_normal((300, 200)).astype(np.float32)
    with record() as trace:
        _ = tinybert.Tensor(noise) * 2.5
    monkeypatch.setattr(arrays, "LIMIT", limit)
    text = page(trace)
    read = Scripts(text)
    assert (read.index["exact"], read.index["reduced"]) == (exact, reduced)
    assert_holds(read, trace, 0 if exact else 2.0**-11)
    blocks = sum(len(data) for name, data in read.scripts.items() if name not in ("index", "code"))
    assert blocks < limit * 4 / 3 + 1000


def test_parameters_are_thumbnails() -> None:
    with record() as trace:
        weight = tinybert.Tensor(np.arange(10_000.0).reshape(100, 100), requires_grad=True)
        (weight @ np.ones(100)).sum().backward()
    values = list(trace.values())
    large = [value for value in values if value.shape == (100, 100)]
    found = arrays.Arrays(values, {id(value) for value in large})
    assert found.reduced == 0
    assert [found.add(value)["stored"] for value in large] == [(64, 64)] * len(large)
    assert found.exact


@pytest.mark.parametrize(
    "array",
    [
        np.array([np.nan, np.inf, -np.inf, 1.0], np.float32),
        np.array([[True, False]]),
        np.array([30_521, -100, 2**30]),
        np.array(2.0**40),
        np.array([2**40]),
        np.zeros((2, 0), np.float32),
        np.float64(1e300) * np.ones(3),
        np.array([3 + 4j]),
    ],
)
@pytest.mark.parametrize("rounded", [True, False])
def test_every_kind_of_array(array: np.ndarray, rounded: bool) -> None:
    form, exponent, raw = arrays.pack(array, rounded)
    found = np.ldexp(np.frombuffer(raw, DTYPES[form]).astype(np.float64), exponent)
    expected = np.abs(array) if array.dtype.kind == "c" else array
    np.testing.assert_allclose(found.reshape(array.shape), expected, rtol=2**-11 if rounded else 0)


BREAKING = "</script><script>alert(1)</script><!-- <b>&amp;\u2028\"' ]]>"


def test_no_text_ends_an_element() -> None:
    """Of titles, tokens, operations, modules and code."""

    class Layer(tinybert.nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2

    model = tinybert.nn.Module()
    setattr(model, "<img src=x>", Layer())
    with record(model) as trace:
        getattr(model, "<img src=x>")(tinybert.Tensor([1.0]))  # "</script><script>alert(2)//"
    trace[0].operation = BREAKING
    trace[0].options = {BREAKING: BREAKING}
    read = Scripts(page(trace, BREAKING, [[BREAKING]]))
    scripts = [attrs for tag, attrs in read.kinds if tag == "script"]
    blocks = len([name for name in read.scripts if re.fullmatch(r"a\d+", name)])
    assert len(scripts) == blocks + 2
    assert "img" not in {tag for tag, _ in read.kinds}
    assert "b" not in {tag for tag, _ in read.kinds}
    assert read.index["tokens"] == [[BREAKING]]
    assert read.index["steps"][0]["operation"] == BREAKING
    body = next(attrs for tag, attrs in read.kinds if tag == "body")
    assert body["data-title"] == BREAKING


def test_nothing_is_loaded() -> None:
    _, trace, _ = recorded("Bert")
    read = Scripts(page(trace))
    policy = next(a["content"] for _, a in read.kinds if a.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    assert not [attrs for _, attrs in read.kinds if {"src", "href"} & set(attrs)]
    assert {tag for tag, _ in read.kinds}.isdisjoint({"link", "iframe", "object", "base"})
    for word in ("fetch(", "XMLHttpRequest", "import(", "innerHTML", "eval("):
        assert word not in read.scripts["code"], word


def test_the_tree_is_that_of_the_walk() -> None:
    _, trace, _ = recorded("Bert")
    nodes = Scripts(page(trace)).index["nodes"]
    values = list(distinct_values(trace.steps))
    walk = Walk(trace)
    pending = list(reversed(walk.root.children))
    places: dict[int, int] = {id(walk.root): -1}
    for number, row in enumerate(nodes):
        node = pending.pop()
        places[id(node)] = number
        pending.extend(reversed(node.children))
        assert (row["name"], row["depth"], row["parent"]) == (
            node.name, node.depth, places[id(node.parent)],
        )  # fmt: skip
        assert (row["step"], row["count"]) == (node.steps[0].number, len(node.steps))
        assert ("values" in row) != node.is_step
        if not node.is_step:
            walk.node = node
            assert [values[n] for n in row["values"]] == walk.values()
    assert pending == []


def test_the_staircase_has_every_forward_step() -> None:
    _, trace, _ = recorded("Mega")
    read = Scripts(page(trace))
    boxes = [int(a["data-step"]) for _, a in read.kinds if "data-step" in a]
    assert boxes == [step.number for step in trace.forward]
    up = sum(a.get("class") == "up" for _, a in read.kinds)
    assert up == sum(v.source is not None for step in trace.forward for v in step.inputs)
    down = sum(a.get("class") == "down" for _, a in read.kinds)
    assert 0 < down < up


@pytest.mark.parametrize("family", FAMILIES)
def test_shares_add_up_to_the_gradient(family: str) -> None:
    _, trace, _ = recorded(family)
    found = forks(trace)
    assert len(found) >= 4
    for fork in found:
        total = sum(share.value.array.astype(np.float64) for share in fork.shares)
        atol = 1e-6 * np.abs(fork.total.array).max()
        np.testing.assert_allclose(total, fork.total.array, rtol=1e-5, atol=atol)
    norms = [token_norms(share.value) for fork in found for share in fork.shares]
    assert any(n is not None and np.shape(n) == MASK.shape for n in norms)


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_weights_are_found(family: str) -> None:
    """One array (..., T, T) for each layer, of no negative numbers."""
    model, trace, _ = recorded(family)
    found = [trace[n].outputs[0].array for n in attention_steps(trace)]
    assert len(found) == model.config.num_hidden_layers
    for weights in found:
        assert weights.shape[-1] == weights.shape[-2]
        assert weights.min() >= 0


def test_norm_and_reach_of_a_value() -> None:
    array = np.array([3.0, -4.0, np.nan, 0.0])
    assert Value.of("x", array).norm == pytest.approx(5)
    assert Value.of("x", np.array([1.0, -2.0])).reach == 2
    outlier = np.r_[np.zeros(9999), 1000.0]
    assert Value.of("x", outlier).reach == pytest.approx(0.1 + 3 * outlier.std())
    masked = np.array([1.0, -2.0, np.finfo(np.float32).min], np.float32)
    assert Value.of("x", masked).reach == 2


def test_a_nan_one_token_an_update_and_a_record_from_a_file(tmp_path: Path) -> None:
    model = model_of("Bert")
    optimizer = tinybert.optim.AdamW(model.parameters())
    with record(model) as trace:
        model(IDS[:1, :1], labels=IDS[:1, :1]).loss.backward()
        optimizer.step()
        _ = tinybert.Tensor([np.nan, np.inf, 1.0]) * 2
    trace.save(tmp_path / "record")
    read = Scripts(page(trace))
    assert_holds(read, trace, 0)
    update = next(row for row in read.index["steps"] if row["phase"] == "update")
    assert "w <- w - lr" in read.index["texts"][update["formula"]]
    assert_holds(Scripts(page(load_trace(tmp_path / "record"))), trace, 0)


def test_html_writes_the_page(tmp_path: Path) -> None:
    _, trace, _ = recorded("Bert")
    trace.html(tmp_path / "page.html", "A text", [["a", "b"]])
    assert (tmp_path / "page.html").read_text("utf-8") == page(trace, "A text", [["a", "b"]])


def test_an_empty_record_is_refused() -> None:
    with pytest.raises(ValueError, match="the record has no steps"):
        page(Trace())


def luminance(colour: str) -> float:
    """The relative luminance of "#rrggbb", as WCAG 2 defines it."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ground", "ink"),
    [*itertools.product(["back", "panel"], ["ink", "quiet", "blue", "orange"]), ("chosen", "ink")],
)
def test_contrast(scheme: int, ground: str, ink: str) -> None:
    """At least 4.5, as WCAG 2 AA asks for."""
    style = (Path(arrays.__file__).parent / "view.css").read_text("utf-8")
    block = style.split(":root {")[1 + scheme].split("}")[0]
    colours = dict(re.findall(r"--(\w+): (#\w{6})", block))
    light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
