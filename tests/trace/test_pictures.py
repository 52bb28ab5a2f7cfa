"""Pictures of a record: they have the record's numbers, and their text is text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import tinybert
from tests.trace.test_record import FAMILIES, MASK, recorded
from tinybert.trace import Trace, record
from tinybert.trace.pictures import (
    colour,
    gradients_picture,
    short,
    staircase_picture,
    step_picture,
)  # fmt: skip

SVG = "{http://www.w3.org/2000/svg}"
TOKENS = [[f"w{row}<{n}" for n in range(8)] for row in range(2)]


def read(picture: str) -> tuple[Any, list[str]]:
    """The root, and all texts in their order."""
    root = ElementTree.fromstring(picture)
    return root, [element.text or "" for element in root.iter(f"{SVG}text")]


def cells(root: Any) -> list[str]:
    """The colours of all cells: rectangles without a frame, but for the background."""
    boxes = list(root.iter(f"{SVG}rect"))[1:]
    return [box.get("fill") for box in boxes if box.get("stroke") == "none"]


def test_colours() -> None:
    ends = [colour(x, 2.0) for x in (0.0, 2.0, 5.0, -2.0, 1.0, np.nan)]
    assert ends == ["#ffffff", "#c44e00", "#c44e00", "#08519c", "#e2a680", "#b4009e"]
    assert colour(0.0, 0.0) == "#ffffff"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_has_its_arrays(family: str) -> None:
    """Of each array the plane of the chosen batch row and head, in the order of the step."""
    _, trace, _ = recorded(family)
    for step in (*trace.forward[:30], *trace.backward[:30]):
        root, texts = read(step_picture(trace, step, TOKENS, 1, 1))
        assert texts[0] == f"step {step.number}, {step.phase}: {step.path}"
        assert texts[1 : 1 + len(trace.formula(step).splitlines())] == [
            line for line in trace.formula(step).splitlines() if line
        ]
        expected = []
        for value in [*step.inputs, *step.outputs]:
            array = value.array
            letters = value.axes.ljust(len(value.shape), ".")
            while array.ndim > 2:
                place = 1 if letters[-array.ndim] == "H" or array.ndim == len(value.shape) else 0
                array = array[min(place, len(array) - 1)]
            own = value.reach if value.parameter or value.reach > step.reach else step.reach
            expected += [colour(float(x), own) for x in np.atleast_2d(array).ravel()]
        assert cells(root) == expected


def test_tokens_name_rows_and_columns() -> None:
    _, trace, _ = recorded("Bert")
    softmax = next(step for step in trace.forward if step.operation == "Softmax")
    _, texts = read(step_picture(trace, softmax, TOKENS, 1, 1))
    assert [text for text in texts if text.startswith("w")] == TOKENS[1] * 4
    assert "y[1, 1]" in texts
    assert short(float(softmax.outputs[0].array[1, 1, 0, 0])) in texts


@pytest.mark.parametrize(
    ("x", "shown"),
    [(0.95, "0.95"), (0.0026, "3e-3"), (-0.0039, "-4e-3"), (-123456.0, "-1e+05"), (0.0, "0")],
)
def test_short_numbers(x: float, shown: str) -> None:
    assert short(x) == shown
    assert len(shown) <= 6


def test_large_arrays_are_reduced() -> None:
    with record() as trace:
        _ = tinybert.Tensor(np.eye(200)) * 2.0
    root, texts = read(step_picture(trace, trace[0], [["word"] * 200]))
    assert "word" not in texts
    assert len(cells(root)) == 2 * 64 * 64 + 1


def test_the_staircase_stands_alone() -> None:
    _, trace, _ = recorded("Bert")
    picture = staircase_picture(trace)
    root, texts = read(picture)
    assert "var(" not in picture
    boxes = [int(g.get("data-step")) for g in root.iter(f"{SVG}g") if g.get("data-step")]
    assert boxes == [step.number for step in trace.forward]
    assert sum(text.startswith(f"{boxes[3]} ") for text in texts) == 1


def test_gradients() -> None:
    _, trace, _ = recorded("Bert")
    root, texts = read(gradients_picture(trace))
    steps = [step for step in trace.backward if step.outputs]
    assert texts[2::2] == [f"{step.outputs[0].norm:.3g}" for step in steps]
    widths = [float(box.get("width")) for box in root.iter(f"{SVG}rect")][1:]
    assert max(widths) == 240
    assert len(widths) == len(steps)
    with pytest.raises(ValueError, match="nothing was differentiated"):
        gradients_picture(Trace(trace.forward))


def test_texts_that_could_break_out() -> None:
    _, trace, _ = recorded("Bert")
    tokens = [["</text><script>", "\x1b[31m", *"abcdef"]] * len(MASK)
    softmax = next(step for step in trace.forward if step.operation == "Softmax")
    root, texts = read(step_picture(trace, softmax, tokens))
    assert "</text><script>" in texts
    assert {element.tag for element in root.iter()} == {
        f"{SVG}{n}" for n in ("svg", "rect", "text")
    }
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", "".join(texts))


def test_a_thumbnail(tmp_path: Path) -> None:
    _, trace, _ = recorded("Bert", limit=1)
    step = next(step for step in trace.forward if step.operation == "Softmax")
    root, _ = read(step_picture(trace, step, TOKENS, 1, 1))
    shown = [value.thumbnail for value in [*step.inputs, *step.outputs]]
    assert len(cells(root)) == sum(small.size for small in shown)
