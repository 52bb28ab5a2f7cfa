"""Reports and pages in terminals of any width."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tinybert.columns import columns_of
from tinybert.learn.catalogue import NAMES, task_of
from tinybert.learn.grader import Report
from tinybert.learn.plugged import SENTENCES
from tinybert.learn.progress import Entry, Progress
from tinybert.learn.terminal import pages
from tinybert.learn.terminal.report import draw, report_lines
from tinybert.trace.terminal.look import Line, Look

WIDTHS = (40, 80, 140)
LOOKS = (Look(256), Look(0), Look(0, blocks=False))
PLAIN = Look(0)
FAILED = Report(
    passed={"values": 4, "edges": 1},
    stage="gradient",
    call="gradients(Mul, inputs={'a': float64 (2, 3), 'b': float64 (3,)}), a call of much text",
    lines=["b: expected 0.123456 at [1], got 東京", "3 of 3 numbers differ"],
    mistake=("gradient of b not summed", "b takes part in several products: sum over them."),
    where="line 31: return dy * self.b, dy * self.a  # and a comment that is as long as the line",
    printed="one\n\x1b[2Jtwo " + "x" * 300,
)
SYNTAX = Report(
    stage="runs", lines=["line 3: '(' was never closed", "def softmax(x:  # " + "y" * 200, "   ^"]
)
REPORTS = [
    FAILED,
    SYNTAX,
    Report(passed={"values": 1, "model": 1}),
    Report(stage="ends", lines=["it did not end"], mistake=("no step", "the loop never ends.")),
    Report(printed="\n".join(map(str, range(100)))),
]


def text(lines: list[Line], width: int = 80, look: Look = PLAIN) -> str:
    return draw(lines, width, look)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("report", REPORTS)
def test_a_report_fits(report: Report, width: int, look: Look) -> None:
    shown = text(report_lines(report, width, look), width, look)
    assert ("\x1b" in shown) == bool(look.colours)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "\x1b" not in plain
    assert look.blocks or plain.replace("東京", "").isascii()
    assert max(columns_of(line) for line in plain.split("\n")) <= width


def test_what_a_report_says() -> None:
    assert text(report_lines(FAILED, 80, PLAIN)) == (
        "  ✓ values: 4 cases\n"
        "  ✓ edge cases: 1 case\n"
        "  ✗ gradients\n"
        "      gradients(Mul, inputs={'a': float64 (2, 3), 'b': float64 (3,)}), a call of\n"
        "      much text\n"
        "      b: expected 0.123456 at [1], got 東京\n"
        "      3 of 3 numbers differ\n"
        "      your line 31: return dy * self.b, dy * self.a  # and a comment that is as…\n"
        '      Your output equals a known mistake, "gradient of b not summed": b takes\n'
        "      part in several products: sum over them.\n"
        "Your code printed:\n"
        "    one\n"
        f"    \\u001b[2Jtwo {'x' * 62}…\n"
    )


def test_the_mark_of_a_syntax_error_is_below_its_place() -> None:
    _, first, code, mark = text(report_lines(SYNTAX, 80, PLAIN)).splitlines()
    assert first.strip() == "line 3: '(' was never closed"
    assert code.startswith("      def softmax(x:")
    assert mark == " " * 9 + "^"


def test_much_that_was_printed_is_cut() -> None:
    shown = text(report_lines(REPORTS[-1], 80, PLAIN))
    assert "    11\n    ... and 88 more lines\n" in shown


@pytest.fixture
def course(tmp_path: Path) -> Progress:
    return Progress(tmp_path, entries={NAMES[0]: Entry("tried", 3, 1, "ab")})


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_every_exercise_fits(course: Progress, name: str, width: int) -> None:
    page = pages.exercise_page(course, name, width)
    task = task_of(name)
    shown = text(page, 10_000)
    assert max(columns_of(line) for line in shown.split("\n")) <= width
    assert shown.startswith(name)
    assert f"about {task.exercise.minutes} minutes" in " ".join(shown.split())
    if width >= 80:  # nothing is cut
        squeezed = "".join(shown.split())
        assert "".join(task.text.partition("\n")[2].split()) in squeezed


@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_fits_and_is_searched(course: Progress, width: int) -> None:
    shown = text(pages.list_page(course, pages.rows_of(course), width), 10_000)
    assert max(columns_of(line) for line in shown.split("\n")) <= width
    assert all(f"  {pages.short(name)} " in shown for name in NAMES)
    assert "file missing" in shown or width == 40
    assert [task.name for task in pages.rows_of(course, "SOFTmax: turn")] == ["loss/softmax"]
    assert pages.rows_of(course, "no such word") == []


def test_the_verdict_names_what_comes_next(course: Progress) -> None:
    name = NAMES[0]
    failed = text(pages.verdict(course, name, FAILED, True, 80))
    assert failed.startswith("It passed before; the file has changed since.\nA new blank: tiny")
    course.path(name).parent.mkdir()
    course.path(name).touch()
    assert text(pages.verdict(course, name, FAILED, False, 80)) == (
        f"Not yet. A hint: tinybert exercises hint {pages.short(name)}\n"
    )
    assert text(pages.verdict(course, name, FAILED, False, 80, has_keys=True)) == (
        "Not yet. A hint: press h\n"
    )
    course.entries[name].hints = 9
    assert "The answer: tinybert exercises sol" in text(
        pages.verdict(course, name, FAILED, False, 80)
    )
    course.entries[name] = Entry("passed", 1, 0, "ab")
    passed = text(pages.verdict(course, name, REPORTS[2], False, 80))
    assert passed.startswith(f"Well done! {name} passes: 1 of {len(NAMES)}.\nNext: {NAMES[1]}, ")
    course.entries = dict.fromkeys(NAMES, Entry("passed", 1, 0, "ab"))
    assert "the last one" in text(pages.verdict(course, name, REPORTS[2], False, 80))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_answers_of_a_model_fit(width: int) -> None:
    count = len(SENTENCES)
    cosines = [[1.0] + [0.25] * (count - 1)] * count
    worse = [[1.0] + [-0.5] * (count - 1)] * count
    found = [
        {
            "model": "minilm", "same": False, "difference": "cosines: expected 0.25, got -0.5",
            "cosines": {"before": cosines, "after": worse},
            "gradients": {"before": {"a.weight": 2.0, "b": 1.0}, "after": {"a.weight": 5.0}},
            "first": "step 12, forward encoder.layer.0.attention.self.Softmax: bug\n  y differs",
        },
        {"model": "other", "error": "ValueError: no"},
    ]  # fmt: skip
    shown = text(pages.models_page(found, width), 10_000)
    assert max(columns_of(line) for line in shown.split("\n")) <= width
    words = " ".join(shown.split())
    assert "0.250 -0.500" in words
    assert "1 of 2 parameters have one; that of a.weight differs most: its norm was 2 b" in words
    assert "step 12, forward encoder.layer.0.attention.self.Softmax: bug" in words
