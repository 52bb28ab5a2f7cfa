"""The page of a record in a browser: Chromium, driven by Playwright."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

import tinybert
from tests.terminals import HANG
from tests.trace.test_record import FAMILIES, IDS, model_of, recorded
from tinybert.trace import Trace, record
from tinybert.trace.html.page import attention_steps, page
from tinybert.trace.walk import Walk

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SVG = "{http://www.w3.org/2000/svg}"
TOKENS = [[f"w{row}{n}" for n in range(8)] for row in range(2)]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs chromium, which Debian packages as `chromium`"
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Viewer:
    """The page of a trace. It fails if the page has an error, or asks for anything."""

    def __init__(self, browser: Any, trace: Trace, path: Path, **options: Any) -> None:
        self.trace = trace
        trace.html(path, "A text </script>", TOKENS)
        self.context = browser.new_context(
            offline=True, **{"viewport": {"width": 1280, "height": 900}, **options}
        )
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.problems.append(request.url))
        self.page.goto(path.as_uri())
        assert self.problems.pop() == path.as_uri()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    @property
    def step(self) -> int:
        return int(self.page.input_value("#slider"))

    def wait(self, condition: str) -> None:
        """Wait for a condition in JavaScript, asked from here: the policy of the page forbids it
        to evaluate texts, which Playwright's own waiting needs.
        """
        until = time.monotonic() + HANG
        while not self.page.evaluate(condition):
            assert time.monotonic() < until, condition
            time.sleep(0.01)

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def numbers(self) -> dict[tuple[int, int], float]:
        """The window of numbers, by row and column."""
        self.page.wait_for_selector("td[data-at]", state="attached")
        cells = self.page.eval_on_selector_all(
            "td[data-at]", "cells => cells.map(cell => [cell.dataset.at, cell.dataset.value])"
        )
        return {
            tuple(map(int, at.split(","))): float(value.replace("Infinity", "inf"))
            for at, value in cells
        }

    def close(self) -> None:
        self.page.wait_for_timeout(50)
        assert self.problems == []
        self.context.close()


def assert_shows(viewer: Viewer, plane: np.ndarray) -> None:
    numbers = viewer.numbers()
    plane = np.atleast_2d(plane)
    assert len(numbers) == min(8, plane.shape[0]) * min(8, plane.shape[1])
    np.testing.assert_array_equal(list(numbers.values()), [plane[at] for at in numbers])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_result_of_every_step_is_shown(family: str, browser: Any, tmp_path: Path) -> None:
    """From the first step to the last; of each result the first 8 x 8 numbers."""
    _, trace, _ = recorded(family)
    viewer = Viewer(browser, trace, tmp_path / "page.html")
    viewer.press("f")
    for number, step in enumerate(trace):
        viewer.page.evaluate(f"location.hash = 'step={number}'")
        viewer.wait(f"document.getElementById('slider').value == {number}")
        array = step.outputs[0].array
        assert_shows(viewer, array[(0,) * max(array.ndim - 2, 0)])
        formula = trace.formula(step)
        assert viewer.text(".formula") == formula
    viewer.close()


def test_the_walk_is_that_of_python(browser: Any, tmp_path: Path) -> None:
    _, trace, _ = recorded("Bert")
    viewer = Viewer(browser, trace, tmp_path / "page.html")
    walk = Walk(trace)
    assert viewer.step == walk.step.number
    moves = {"n": walk.next, "b": walk.back, "i": walk.into, "o": walk.out, "d": walk.turn}
    chance = random.Random(0)
    for _ in range(150):
        key = chance.choices(list(moves), [4, 2, 2, 2, 1])[0]
        moves[key]()
        viewer.press(key)
        assert viewer.step == walk.step.number, key
        name = viewer.page.text_content("nav .here")
        assert name.removeprefix(f"{walk.step.number} ") == walk.node.name
    viewer.close()


def test_keys_alone(browser: Any, tmp_path: Path) -> None:
    """The backward half, a jump, a head, a number; the address leads there again."""
    _, trace, _ = recorded("Bert")
    path = tmp_path / "page.html"
    viewer = Viewer(browser, trace, path)
    viewer.press("B")
    assert viewer.step == len(trace.forward)
    viewer.press("b", "f")
    assert viewer.step == 0
    viewer.press("g")
    viewer.page.keyboard.type("bert.encoder.layer.1")
    viewer.press("Enter")
    assert viewer.text("#line").endswith("forward: bert.encoder.layer.1")
    softmax = next(s for s in trace["bert.encoder.layer.1"] if s.operation == "Softmax")
    while viewer.step < softmax.number or viewer.text("h2") != "Softmax":
        viewer.press("i" if viewer.text("h2") != "Softmax" and "›" in viewer.text(".crumbs")
                     and viewer.page.query_selector(".formula") is None else "n")  # fmt: skip
    viewer.press("]", "}", "ArrowDown", "ArrowRight", "ArrowRight")
    assert_shows(viewer, softmax.outputs[0].array[1, 1])
    expected = float(softmax.outputs[0].array[1, 1, 1, 2])
    readout = viewer.text("#readout")
    assert readout.startswith("y[1,1,1,2] (“w11”, “w12”) = ")
    assert float(readout.rpartition("= ")[2]) == pytest.approx(expected, rel=1e-3)
    viewer.page.wait_for_url(f"**#step={softmax.number}&head=1&batch=1&at=1,2")
    address = viewer.page.url
    viewer.press("4")
    assert viewer.text("#readout").startswith("“w11” attends to “w12”")
    again = viewer.context.new_page()
    again.goto(address)
    again.wait_for_selector("td[data-at]")
    assert again.inner_text("#readout") == readout
    viewer.close()


@pytest.mark.parametrize("width", [390, 800, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_fits_and_has_names(
    width: int, scheme: str, browser: Any, tmp_path: Path
) -> None:
    _, trace, _ = recorded("Bert")
    size = {"width": width, "height": 800}
    viewer = Viewer(browser, trace, tmp_path / "page.html", viewport=size, color_scheme=scheme)
    for screen in range(1, 7):
        viewer.press(str(screen))
        viewer.page.wait_for_timeout(100)
        assert viewer.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        nameless = viewer.page.evaluate(
            """[...document.querySelectorAll("button, select, input, canvas, a, [role=button]")]
            .filter(e => !e.textContent.trim() && !e.ariaLabel && !e.labels?.length)
            .map(e => e.outerHTML)"""
        )
        assert nameless == []
        images = viewer.page.eval_on_selector_all(
            "canvas", "all => all.map(e => e.getAttribute('role'))"
        )
        assert set(images) <= {"img"}
    viewer.close()


def test_shares_of_one_token(browser: Any, tmp_path: Path) -> None:
    _, trace, _ = recorded("Bert")
    viewer = Viewer(browser, trace, tmp_path / "page.html")
    viewer.press("5")
    viewer.page.select_option("#token", "3")  # token 2
    add = next(s for s in trace.backward if s.path.endswith("layer.1.attention.output.Add"))
    expected = np.linalg.norm(add.outputs[1].array[0, 2].astype(np.float64))
    shown = viewer.page.locator("li", has_text="layer.1.attention.output.Add").locator(".number")
    assert float(shown.inner_text()) == pytest.approx(expected, rel=1e-3)
    viewer.close()


def test_a_nan_one_token_and_an_update(browser: Any, tmp_path: Path) -> None:
    model = model_of("Bert")
    with record(model) as trace:
        model(IDS[:1, :1], labels=IDS[:1, :1]).loss.backward()
        tinybert.optim.AdamW(model.parameters()).step()
        _ = tinybert.Tensor([[np.nan, np.inf], [1.0, -2.0]]) * 2
    viewer = Viewer(browser, trace, tmp_path / "page.html")
    viewer.page.evaluate(f"location.hash = 'step={len(trace) - 1}'")
    viewer.wait("document.querySelector('h2').textContent == 'Mul'")
    assert_shows(viewer, trace[-1].outputs[0].array)
    assert "1 NaN, 1 infinite" in viewer.text("figure.chosen")
    for screen in "123456":
        viewer.press(screen)
    assert "update" in viewer.text("thead")
    viewer.close()


@pytest.mark.parametrize("screen", ["step", "stairs", "attention"])
def test_pictures_are_saved(screen: str, browser: Any, tmp_path: Path) -> None:
    """By a key as SVG, whose text is text; by a button as PNG."""
    _, trace, _ = recorded("Bert")
    viewer = Viewer(browser, trace, tmp_path / "page.html")
    viewer.press("]", "}", {"step": "1", "stairs": "3", "attention": "4"}[screen])
    viewer.page.wait_for_timeout(100)
    with viewer.page.expect_download() as download:
        viewer.press("e")
    softmax = next(step for step in trace.forward if step.operation == "Softmax")
    name = "staircase" if screen == "stairs" else f"step-{softmax.number}-y-1-1"
    assert download.value.suggested_filename == f"{name}.svg"
    root = ElementTree.parse(download.value.path()).getroot()
    texts = [element.text for element in root.iter(f"{SVG}text")]
    if screen == "stairs":
        assert f"{softmax.number} Softmax (self)" in texts
        assert "var(" not in "".join(style.text for style in root.iter(f"{SVG}style"))
    else:
        assert texts[0] == f"step {softmax.number}: {softmax.path}"
        assert texts[2:] == TOKENS[1] * 2
    with viewer.page.expect_download() as download:
        viewer.page.get_by_text("save PNG").click()
    pixels = imread(download.value.path(), format="png")
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 20
    viewer.press("5", "e")
    assert viewer.text("#line") == "this screen has no picture to save"
    viewer.problems = [
        line for line in viewer.problems if not line.startswith(("data:", "blob:file:"))
    ]
    viewer.close()


def test_predict_then_reveal(browser: Any, tmp_path: Path) -> None:
    """A result and what gives it away is hidden until it is asked for, at every step anew."""
    _, trace, _ = recorded("Bert")
    viewer = Viewer(browser, trace, tmp_path / "page.html")
    viewer.numbers()  # they are read after the page is there
    shown = viewer.text("#screen")
    viewer.press("p")
    hidden = viewer.text("#screen")
    assert "Which shape does it have?" in hidden
    assert "Worked out" not in hidden
    assert hidden.count("B 2 ×") == 1  # that of x
    viewer.press("r")
    viewer.numbers()
    assert viewer.text("#screen") == shown
    viewer.press("n")
    assert "Which shape does it have?" in viewer.text("#screen")
    viewer.press("o")
    assert "Which shape does it have?" in viewer.text("#screen")
    viewer.page.get_by_text("reveal (r)").click()
    assert "Which shape does it have?" not in viewer.text("#screen")
    viewer.press("p")
    assert viewer.page.get_attribute("#predict", "aria-pressed") == "false"
    viewer.close()


def test_a_page_begins_where_it_is_told_to(browser: Any, tmp_path: Path) -> None:
    _, trace, _ = recorded("Bert")
    layer = attention_steps(trace)[1]
    viewer = Viewer(browser, trace, tmp_path / "page.html")
    place = f"step={layer}&head=1&screen=attention"
    (tmp_path / "other.html").write_text(page(trace, "t", TOKENS, place), "utf-8")
    viewer.page.goto((tmp_path / "other.html").as_uri())
    viewer.wait("document.getElementById('readout')?.textContent")
    viewer.problems.clear()
    assert viewer.step == layer
    assert viewer.text("h2") == "Attention"
    assert viewer.text(".heads [aria-pressed=true]") == "head 1"
    assert_shows(viewer, trace[layer].outputs[0].array[0, 1])
    viewer.close()
