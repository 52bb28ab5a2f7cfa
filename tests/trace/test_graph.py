"""The graph of a record: boxes, arrows, and their places."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests.trace.test_record import FAMILIES, model_of, recorded
from tinybert.cli.graph_layout import Box, arrange, human_count, way_around
from tinybert.trace import Trace
from tinybert.trace.graph import graph, parameters, readable_depth


@pytest.mark.parametrize("depth", [1, 2, 3, 9])
@pytest.mark.parametrize("family", FAMILIES)
def test_boxes_hold_all_steps_and_arrows_all_arrays(family: str, depth: int) -> None:
    _, trace, _ = recorded(family)
    found = graph(trace, depth)
    assert [step for box in found.boxes for step in box.steps] == trace.forward
    box_of = {step.number: box for box in found.boxes for step in box.steps}
    expected = {
        (id(box_of[value.source[0]]), id(box_of[step.number]))
        for step in trace.forward
        for value in step.inputs
        if value.source is not None and box_of[value.source[0]] is not box_of[step.number]
    }
    arrows = [arrow for arrow in found.arrows if arrow.source.steps]
    assert {(id(arrow.source), id(arrow.target)) for arrow in arrows} == expected
    for arrow in arrows:  # an arrow shows what its source made
        assert any(arrow.value.array is y.array for s in arrow.source.steps for y in s.outputs)
    assert {id(arrow.source) for arrow in found.arrows} >= {id(array) for array in found.given}


def test_parameters_are_those_of_the_model() -> None:
    model, trace, _ = recorded("Bert")
    found = graph(trace, 1)
    assert parameters(trace.forward) == model.num_parameters()
    encoder = next(box for box in graph(trace, 2).boxes if box.name == "encoder")
    assert parameters(encoder.steps) == sum(p.data.size for p in model.bert.encoder.parameters())
    assert [box.name for box in found.boxes][:2] == ["bert", "cls"]


def test_depths() -> None:
    _, trace, _ = recorded("Bert")
    assert len(graph(trace, 1).boxes) < len(graph(trace, 3).boxes) < len(trace.forward)
    depth = readable_depth(trace, 20)
    assert len(graph(trace, depth).boxes) <= 20 < len(graph(trace, depth + 1).boxes)
    assert readable_depth(trace, 1) == 1
    deepest = readable_depth(trace, 10**6)
    assert len(graph(trace, deepest).boxes) == len(trace.forward)
    with pytest.raises(ValueError, match="no forward steps"):
        graph(Trace(), 1)
    with pytest.raises(ValueError, match="depth must be an integer >= 1, got 0"):
        graph(trace, 0)


def overlap(a: Box, b: Box) -> bool:
    apart = a.x + a.width <= b.x or b.x + b.width <= a.x
    return not (apart or a.y + a.height <= b.y or b.y + b.height <= a.y)


@pytest.mark.parametrize("family", FAMILIES)
def test_boxes_are_inside_of_their_modules_and_apart(family: str) -> None:
    _, trace, _ = recorded(family)
    for depth in (1, 3, 9):
        found = graph(trace, depth)
        root = arrange(found)
        assert {box.node for box in root.all() if not box.inside} == {*found.boxes, *found.given}
        for box in root.all():
            for part in box.inside:
                assert box.x <= part.x
                assert box.y <= part.y
                assert part.x + part.width <= box.x + box.width
                assert part.y + part.height <= box.y + box.height
            assert not any(overlap(a, b) for a, b in itertools.combinations(box.inside, 2))
        boxes = {id(box.node): box for box in root.all()}
        for arrow in found.arrows:  # arrays come from above
            source, target = boxes[id(arrow.source)], boxes[id(arrow.target)]
            assert source.y + source.height < target.y + 1e-9


def test_arrows_go_around_boxes() -> None:
    model = model_of("Bert").eval()
    from tinybert.trace import record

    with record(model.bert) as trace:
        model.bert(np.array([[5, 6, 7]]))
    found = graph(trace, 3)
    everything = list(arrange(found).all())
    boxes: Any = {id(box.node): box for box in everything}
    ways = []
    for arrow in found.arrows:
        source, target = boxes[id(arrow.source)], boxes[id(arrow.target)]
        x = way_around(everything, source, target)
        if x is not None:
            ways.append((arrow.source.name, arrow.target.name))
            middle = source.y + source.height / 2, target.y + target.height / 2
            for box in everything:
                if not box.inside and middle[0] < box.y and box.y + box.height < middle[1]:
                    assert not box.x <= x <= box.x + box.width
    assert ways.count(("attention", "output")) == 2  # the residual sum of each layer


def test_counts_in_words() -> None:
    counts = (0, 384, 9_999, 12_300, 11_720_448, 7_000_000_000)
    assert [human_count(count) for count in counts] == [
        "0", "384", "9,999", "12.3 thousand", "11.7 million", "7 billion",
    ]  # fmt: skip
