"""The walk through a record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinybert
from tests.trace.test_record import FAMILIES, recorded
from tinybert.trace import Trace, load_trace
from tinybert.trace.walk import Walk, parts_of

WALKS = {family: Walk(recorded(family)[1]) for family in FAMILIES}
MOVES = ("next", "back", "into", "out", "turn")


@pytest.mark.parametrize("family", FAMILIES)
def test_it_begins_at_the_first_softmax(family: str) -> None:
    walk = Walk(recorded(family)[1])
    assert walk.step.operation == "Softmax"
    assert walk.step.phase == "forward"


@pytest.mark.parametrize("family", FAMILIES)
def test_from_end_to_end_each_step_is_met_once(family: str) -> None:
    walk = Walk(recorded(family)[1])
    walk.to_step(0)
    for depth in range(walk.depth, 0, -1):
        walk.to_step(0)
        while walk.node.depth > depth:
            walk.out()
        met = [step.number for step in walk.node.steps]
        while walk.next():
            met += [step.number for step in walk.node.steps]
        assert met == list(range(len(walk.trace)))


@given(st.sampled_from(FAMILIES), st.lists(st.sampled_from(MOVES), max_size=40))
@settings(deadline=None)
def test_moves_can_be_undone(family: str, moves: list[str]) -> None:
    walk = WALKS[family]
    walk.to_step(0)
    for move in moves:
        before = walk.node
        moved = getattr(walk, move)()
        after = walk.node
        assert moved == (after is not before)
        assert after in walk.row()
        if move in ("next", "back") and moved:
            getattr(walk, {"next": "back", "back": "next"}[move])()
            assert walk.node is before or before.depth != after.depth
        elif move == "into" and moved:
            walk.out()
            assert walk.node is before
        elif move == "turn" and moved:
            walk.turn()
            assert walk.step is before.steps[0]
        walk.node = after


def test_jumps() -> None:
    walk = Walk(recorded("Bert")[1])
    assert walk.jump("bert.encoder.layer.1.attention")
    assert walk.node.name == "attention"
    assert walk.jump("bert.encoder.layer.1.attention", "backward")
    assert walk.step.phase == "backward"
    assert walk.jump("bert.emb")
    assert walk.node.name == "embeddings"
    assert walk.jump("softmax")
    assert walk.step.operation == "Softmax"
    node = walk.node
    assert not walk.jump("nowhere")
    assert walk.node is node
    assert [n.name for n in node.path()] == [
        "forward", "bert", "encoder", "layer.0", "attention", "self", "Softmax",
    ]  # fmt: skip


def test_halves_and_search() -> None:
    walk = Walk(recorded("Bert")[1])
    assert walk.half("backward")
    assert walk.step is walk.trace.backward[0]
    assert walk.search("GELU")
    assert (walk.step.phase, walk.step.operation) == ("backward", "Gelu")
    assert walk.half("forward")
    assert walk.step.number == 0
    assert walk.search("layer.1.output.LayerNorm.weight")  # a parameter
    assert walk.step.operation == "LayerNorm"
    last = walk.trace[-1].number
    walk.to_step(last)
    assert walk.search("embeddings")  # from the end on, again from the beginning
    assert walk.step.number < last
    node = walk.node
    assert not walk.search("nowhere")
    assert not walk.half("update")
    assert walk.node is node


def test_the_last_of_several_backward_passes_has_the_halves() -> None:
    x = tinybert.Tensor(np.ones(3), requires_grad=True)
    with tinybert.record() as trace:
        for _ in range(2):
            (x * x).sum().backward()
        x.sum()
    walk = Walk(trace)
    assert walk.half("backward")
    assert walk.step.number == 6
    assert walk.half("forward")
    assert walk.step.number == 4


def test_formulas_of_steps(tmp_path: Path) -> None:
    trace = recorded("Bert")[1]
    for step in trace:
        assert trace.formula(step), step
    trace.save(tmp_path / "x.trace")
    read = load_trace(tmp_path / "x.trace")
    assert [read.formula(step) for step in read] == [trace.formula(step) for step in trace]


def test_what_enters_and_leaves_a_module() -> None:
    walk = Walk(recorded("Bert")[1])
    walk.jump("bert.encoder.layer.0.attention")
    names = [(value.name, value.shape) for value in walk.values()]
    assert names[0] == ("x", (2, 8, 12))  # the hidden states
    assert names[-1] == ("y", (2, 8, 12))
    assert len([shape for _, shape in names if shape == (2, 8, 12)]) == 2


def test_names() -> None:
    assert parts_of("encoder.layer.0.output") == ["encoder", "layer.0", "output"]
    assert parts_of("") == []
    with pytest.raises(ValueError, match="the record has no steps"):
        Walk(Trace())
