"""`show` shows every number of an array, as text and as SVG."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import tinybert
from tinybert.learn.picture import LARGEST, picture_of

WORDS = ("the", "<b>&", "\x1b[31m", "한국어")


def test_a_small_matrix_is_shown_with_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    tinybert.show([[0.25, -3], [np.nan, np.inf]], "scores", rows=WORDS[:2], cols=("a", "b"))
    assert capsys.readouterr().out.splitlines() == [
        "scores  (2 x 2, -3 to 0.25)",
        "           a       b",
        "the     0.25      -3█",
        "<b>&     nan?    inf█",
    ]


def test_a_wide_matrix_is_ink_alone_and_says_what_is_left_out() -> None:
    text = picture_of(np.linspace(-1, 1, 200).reshape(2, 100), "w").text(40)
    title, left_out, numbers, *rows = text.splitlines()
    assert title == "w  (2 x 100, -1 to 1)"
    assert left_out == "columns 0 to 18 of 100"
    assert numbers == "  0   2   4   6   8   10  12  14  16"
    assert [row[0] for row in rows] == ["0", "1"]
    assert rows[0][2:].startswith("████")  # the largest magnitudes come first
    assert rows[1].strip("1 ") != "", "small numbers have less ink, not none in a whole row"


def test_numbers_have_at_most_six_characters() -> None:
    values = [-0.005, 99.999, -99.999, 123.45, -123.45, -999.999, -12345, 1e5, -1e-9]
    lines = picture_of(np.array(values)[:, None], rows=["row"] * 9).text().splitlines()
    shown = [line.strip("row ░▒▓█") for line in lines if line.startswith("row")]
    wanted = "-0.005 100.00 -100.0 123.45 -123.5 -1000 -12345 1e+05 -1e-09"
    assert shown == wanted.split()


@pytest.mark.parametrize("width", [20, 40, 80, 140])
@pytest.mark.parametrize("columns", [1, 4, 9, 60])
def test_no_line_is_too_long(width: int, columns: int) -> None:
    values = np.random.default_rng(0).normal(size=(4, columns)) * 10.0 ** np.arange(-3, 1)[:, None]
    text = picture_of(values, "a title" * 20, rows=WORDS).text(width)
    assert max(map(tinybert.columns.columns_of, text.splitlines())) <= width
    assert "\x1b" not in text


def test_a_label_of_wide_characters_is_whole() -> None:
    text = picture_of([[1], [2]], rows=("東京", "a")).text()
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["東京", "a"]


def test_the_labels_of_narrow_columns_go_from_top_to_bottom() -> None:
    words = ("[CLS]", "the", "東京", *"abcdefghijk")
    lines = picture_of(np.tri(14, 14), "", words, words).text().splitlines()
    assert lines[0] == "(14 x 14, 0 to 1)"
    columns = [lines[row].ljust(40)[6::2] for row in range(1, 5)]  # of one column each
    assert ["".join(row[i] for row in columns) for i in (0, 1)] == ["[CLS", "  th"]
    assert [line.split() for line in lines[4:6]] == [
        ["S", "h", "東"],
        ["]", "e", "京a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"],
    ]
    assert lines[6] == "[CLS] ██"


def test_labels_widen_the_columns_if_there_is_room() -> None:
    words = ["sister", "grandfather", "internationally"]
    text = picture_of(np.ones((2, 3)), rows=["the cat sat on the wall"] * 2, cols=words).text()
    assert text.splitlines()[1].split() == words
    assert text.count("the cat sat on the wall") == 2


def test_a_long_title_leaves_the_range_visible() -> None:
    title, size, *_ = picture_of([1.5, 2.0], "a title " * 20).text().splitlines()
    assert title.endswith("…")
    assert size == "(1 x 2, 1.5 to 2)"


def test_a_wide_terminal_is_used(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "130")
    tinybert.show(np.full((2, 16), 0.25))
    assert capsys.readouterr().out.count("0.25█") == 32


def test_a_stream_without_blocks_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", stream)
    tinybert.show([1.0, 0.5], "한", cols=WORDS[:2])
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    assert stream.buffer.getvalue().decode("cp1252").splitlines()[-1].split() == ["1#", "0.50:"]


def test_the_svg_holds_every_value_and_no_markup_of_others() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4))
    svg = picture_of(values, "<script>", cols=WORDS)._repr_html_()
    root = ET.fromstring(svg)
    titles = [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}title")]
    shown = [float(title.rpartition(": ")[2]) for title in titles[1:]]
    assert np.allclose(shown, values.ravel(), rtol=1e-5)
    assert "<script>" not in svg


def test_the_svg_has_whole_labels_and_the_range() -> None:
    words = ["university", *map(str, range(19))]
    svg = picture_of(np.arange(20.0), "counts", cols=words).svg()
    assert ">university<" in svg
    assert svg.count("rotate(") == 20
    assert ">counts  (1 x 20, 0 to 19)<" in svg
    assert "rotate(" not in picture_of(np.arange(20.0), cols=[*words[1:], "19"]).svg()


def test_the_svg_of_one_cell_is_as_wide_as_its_title() -> None:
    root = ET.fromstring(picture_of([1.0], "the largest difference of all").svg())
    assert float(root.attrib["width"]) >= 6 * len("the largest difference of all")


def test_what_has_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="one or two axes"):
        tinybert.show(np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="one or two axes"):
        tinybert.show(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="array of numbers"):
        tinybert.show(["a"])
    with pytest.raises(ValueError, match=f"at most {LARGEST}"):
        tinybert.show(np.zeros(LARGEST + 1))
    with pytest.raises(ValueError, match="cols must be 3 labels"):
        tinybert.show([1, 2, 3], cols=("a",))
    tinybert.show(tinybert.Tensor([True, False]))
