"""The screen of `tinybert step`, drawn for many sizes and keys; nothing is shown but the record."""

from __future__ import annotations

import io
import re
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinybert
from tests.trace.test_record import FAMILIES, IDS, MASK, model_of
from tinybert.columns import columns_of
from tinybert.trace.pictures import colour
from tinybert.trace.runs import Run
from tinybert.trace.terminal import session as session_module
from tinybert.trace.terminal import tensor
from tinybert.trace.terminal.keys import decode
from tinybert.trace.terminal.listing import as_data, listing
from tinybert.trace.terminal.look import Look
from tinybert.trace.terminal.render import render
from tinybert.trace.terminal.screen import ENTER, LEAVE, alternate_screen
from tinybert.trace.terminal.session import KEYS, Session

KEY_NAMES = [
    *"nbiotvwdgB/f?[] qxl.", "up", "down", "left", "right", "tab", "enter", "escape", "backspace",
]  # fmt: skip
LOOKS = [Look(256), Look(16), Look(0), Look(0, blocks=False)]
WORDS = ["[CLS]", "東京", "e\u0301te", "\x1b[31m", "naïve", "🚀", "it", "[SEP]"]
SVG = "{http://www.w3.org/2000/svg}"
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@cache
def run_of(family: str) -> Run:
    model = model_of(family).eval()
    with tinybert.record(model) as trace:
        loss = model(IDS, attention_mask=MASK, labels=IDS).loss
        loss.backward()
    return Run(trace, "loss = 2", 2.0, [WORDS, WORDS[::-1]])


def text_of(session: Session, width: int = 140, height: int = 50) -> str:
    return "\n".join(render(session, width, height, Look(0)))


def press(session: Session, *keys: str) -> None:
    for key in keys:
        session.press(key)


# --- every size, all keys ------------------------------------------------------------------------


@given(
    family=st.sampled_from(FAMILIES),
    keys=st.lists(st.sampled_from(KEY_NAMES), max_size=30),
    width=st.sampled_from([1, 7, 20, 40, 59, 60, 80, 99, 100, 140, 200]),
    height=st.sampled_from([0, 1, 2, 3, 8, 24, 50]),
    look=st.sampled_from(LOOKS),
)
@settings(deadline=None, max_examples=150)
def test_every_screen_has_the_size_of_the_terminal(
    family: str, keys: list[str], width: int, height: int, look: Look
) -> None:
    session = Session(run_of(family))
    for key in keys:
        session.press(key)
        lines = render(session, width, height, look)
        assert len(lines) == height
        for line in lines:
            plain = ESCAPE.sub("", line)
            assert "\x1b" not in plain
            assert columns_of(plain) == width
            assert look.blocks or line.isascii()
            assert look.colours or line == plain


@given(
    family=st.sampled_from(FAMILIES), keys=st.lists(st.sampled_from("nniiobtvdB[]fd"), max_size=30)
)
@settings(deadline=None, max_examples=80)
def test_all_numbers_shown_are_those_of_the_record(family: str, keys: list[str]) -> None:
    session = Session(run_of(family))
    press(session, *keys)
    session.view = "table"
    value, matrix = session.value, session.matrix
    text = text_of(session)
    assert value.array is not None
    assert f"= {value.array[session.index]!s}" in text
    row, column = session.cursor
    assert matrix[row, column] == value.array[session.index] or np.isnan(matrix[row, column])
    for r, line in enumerate(tensor.table(session, 90, 9)[1:]):  # the cursor is in the corner
        shown = [cell.strip(" []") for cell, _ in line[1:]]
        assert shown == [tensor.number(x) for x in matrix[r, : len(shown)]]
        for cell, x in zip(shown, matrix[r], strict=False):
            assert cell in ("True", "False") or float(cell) == pytest.approx(float(x), rel=1e-3)
    assert f"min {value.statistics.min:.4g}, max {value.statistics.max:.4g}" in text


# --- what keys do --------------------------------------------------------------------------------


def test_it_begins_at_attention_and_turns_round_at_the_loss() -> None:
    session = Session(run_of("Bert"))
    assert session.step.operation == "Softmax"
    assert "y_i = exp(x_i - max x)" in text_of(session)
    halves, messages = set(), []
    while "end of the record" not in session.message:
        halves.add(session.step.phase)
        press(session, "n")
        messages.append(session.message)
    assert halves == {"forward", "backward"}
    turns = [message for message in messages if message.startswith("The forward half ends")]
    assert turns == ["The forward half ends with the loss (loss = 2): now its gradient comes down."]


def test_the_head_stays_from_step_to_step() -> None:
    session = Session(run_of("Bert"))
    heads = session.value.shape[1]
    press(session, "]", "down", "right", "right")
    assert session.index == (0, 1, 1, 2)
    press(session, *["]"] * (heads - 1))
    assert session.index == (1, 0, 1, 2)  # after the last head comes the next text
    assert "[B 1 of 0-1, H 0 of" in text_of(session).replace("slice: ", "[")
    press(session, "n")
    assert session.step.operation == "MatMul"
    assert session.index == (1, 0, 1, 2)
    press(session, "b", *["]"] * heads)
    assert session.message == "this is the last one"


def test_rows_and_columns_are_named_by_the_tokens_of_their_text() -> None:
    session = Session(run_of("Bert"))
    assert session.labels(0) == session.labels(1) == WORDS
    press(session, *["]"] * session.value.shape[1])
    assert session.labels(1) == WORDS[::-1]
    assert "東京" in text_of(session)
    assert "\\u001b[3" in text_of(session)


def test_pairs_halves_jump_and_search() -> None:
    session = Session(run_of("Bert"))
    press(session, "d")
    assert (session.step.phase, session.step.operation) == ("backward", "Softmax")
    assert session.value.name == "dx"
    press(session, "d", "g", *"bert.encoder.layer.1.att")
    assert "found: bert.encoder.layer.1.attention" in text_of(session)
    press(session, "backspace", "enter")
    assert session.walk.node.name == "attention"
    press(session, "B")
    assert session.step.phase == "backward"
    assert session.step.number == len(session.run.trace.forward)
    press(session, "f")
    assert session.step.number == 0
    press(session, "/", *"gelu", "enter")
    first = session.step.number
    press(session, "/", "enter")
    assert session.step.operation == "Gelu"
    assert session.step.number > first
    press(session, "/", *"nowhere", "enter")
    assert session.message == "no step has 'nowhere'"
    press(session, "g", "q", "escape")
    assert not session.done
    press(session, "z")
    assert "? shows all" in session.message
    press(session, "q")
    assert session.done


def test_each_tensor_can_be_chosen_and_seen_in_three_ways() -> None:
    session = Session(run_of("Bert"))
    press(session, "g", *"bert.embeddings.LayerNorm.LayerNorm", "enter")
    names = []
    for _ in session.values:
        press(session, "t")
        names.append(session.value.name)
    assert sorted(names) == sorted(value.name for value in session.values)
    press(session, "v")
    assert "ink by magnitude" in text_of(session)
    press(session, "v")
    assert str(session.matrix[session.cursor]) in text_of(session)


def test_a_worked_number() -> None:
    session = Session(run_of("Bert"))
    press(session, "w")
    assert session.worked_lines()[0] in text_of(session)
    press(session, "t", "t")
    assert session.value.name == "x"
    assert "only results are worked out" in text_of(session)
    press(session, "o")
    assert "a module has no worked numbers" in text_of(session)


def test_a_tensor_is_saved_as_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    session = Session(run_of("Bert"))
    press(session, "]", "e")
    number = session.step.number
    assert session.message == f"saved as step-{number}-y-0-1.svg"
    root = ElementTree.parse(tmp_path / f"step-{number}-y-0-1.svg").getroot()
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "y[0, 1]" in texts
    assert texts.count("\u6771\u4eac") == 2  # a row and a column
    assert session.value.array is not None
    weights = session.value.array[0, 1]
    fills = [box.get("fill") for box in root.iter(f"{SVG}rect")]
    assert fills[1:-1] == [colour(x, session.value.reach) for x in weights.ravel()]
    monkeypatch.setattr(session_module, "atomic_write", refuse)
    press(session, "e")
    assert session.message == f"step-{number}-y-0-1.svg cannot be written: no room"


def refuse(path: Path) -> Any:
    raise OSError(28, "no room")


def test_help_names_every_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # e saves a file
    session = Session(run_of("Bert"))
    press(session, "?")
    assert all(explanation in text_of(session) for _, _, explanation in KEYS)
    for key in {key for keys, _, _ in KEYS for key in keys.split()} - {"arrows"}:
        other = Session(run_of("Bert"))
        other.press(key)
        assert "no key" not in other.message
    for width in (40, 80, 140):
        assert "? help  q quit" in render(session, width, 24, Look(0))[-1]


def test_thumbnails_say_that_they_are() -> None:
    model = model_of("Bert").eval()
    with tinybert.record(model, limit=1) as trace:
        model(IDS, labels=IDS).loss.backward()
    session = Session(Run(trace, "loss"))
    assert session.value.array is None
    text = text_of(session)
    assert "a thumbnail" in text
    assert "= " + str(session.matrix[session.cursor]) not in text


def test_numbers_that_are_not_finite_are_shown() -> None:
    with tinybert.record() as trace:
        x = tinybert.Tensor(np.array([[1, np.nan], [np.inf, -2]])) * 2.0
    assert np.isnan(x.numpy()).sum() == 1
    session = Session(Run(trace, "by hand"))
    for look in LOOKS:
        text = "\n".join(render(session, 120, 40, look))
        assert "NaN 1, inf 1" in text
        assert " nan " in text


def test_a_heat_map_has_the_scale_of_what_is_not_masked() -> None:
    scores = np.array([[1.0, -4.0, -3.4e38], [0.0, np.nan, -np.inf]])
    with tinybert.record() as trace:
        tinybert.Tensor(scores) * 1.0
    session = Session(Run(trace, "scores"))
    legend, first, second = tensor.heat_map(session, 6, 3, Look(0))
    assert legend[0][0].startswith("2 x 3: -4 to 4, ink")
    assert [text for text, _ in first] == ["::", "@@", "@@"]
    assert [text for text, _ in second] == ["  ", "??", "@@"]
    _, halves = tensor.heat_map(session, 6, 2, Look(256))
    assert [text for text, _ in halves] == ["▀"] * 3
    warm, cold, _ = (style.split(";")[2] for _, style in halves)
    assert int(warm) in tensor.WARM
    assert int(cold) == tensor.COLD[-1]


def test_an_error_in_the_loop_leaves_the_second_screen() -> None:
    output = io.StringIO()
    with pytest.raises(RuntimeError, match="a fault"), alternate_screen(output):
        raise RuntimeError("a fault")
    assert output.getvalue() == ENTER + LEAVE


# --- keys, looks, listing ------------------------------------------------------------------------


def test_what_terminals_send() -> None:
    assert decode("n\x1b[A\x1bOB\t\r\x7f") == ["n", "up", "down", "tab", "enter", "backspace"]
    assert decode("\x1b") == ["escape"]
    assert decode("\x1b[3~é") == ["é"]  # Delete is no key here


def test_looks() -> None:
    assert Look.of({"TERM": "xterm-256color"}, "utf-8") == Look(256)
    assert Look.of({"TERM": "linux"}, "utf-8") == Look(16)
    assert Look.of({"TERM": "xterm-256color", "NO_COLOR": "1"}, "ascii") == Look(0, blocks=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_listing_has_each_step_once(family: str) -> None:
    run = run_of(family)
    lines = list(listing(run))
    assert [int(line.split()[0]) for line in lines] == list(range(len(run.trace)))
    softmax = next(line for line in lines if line.split()[2].endswith("Softmax"))
    assert "y_i = exp" in softmax
    for data, step in zip(as_data(run)["steps"], run.trace, strict=True):
        assert data["formula"]
        assert [v["mean"] for v in data["outputs"]] == [v.statistics.mean for v in step.outputs]
