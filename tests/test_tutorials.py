"""The tutorials are programs: each runs from top to bottom, without a warning, and checks itself.

They are found in their folder, so that a new one is tested without a change here.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "tutorials"
TUTORIALS = sorted(FOLDER.glob("*.py"))
NEED_WEIGHTS = [path for path in TUTORIALS if "model_folder" in path.read_text("utf-8")]
DRAW = [path for path in TUTORIALS if '.endswith(".png")' in path.read_text("utf-8")]
LONGEST = 360  # lines: one sitting
SLOWEST = 60  # seconds of a processor; how long that takes depends on what else runs
HANG = 1800  # seconds
ANSWERS = {  # to the questions, `name = None`, at the end of a tutorial
    "03_wordpiece_by_hand": {"trials_of_zerowidth": "13", "rows_at_stride_20": "4"},
    "04_attention": {"pairs_seen": "15", "largest": "0.5"},
    "05_a_layer_backward": {"numbers_kept": "16", "zero_at_padding": "True"},
    "06_heads_and_losses": {"first_loss": "2.2", "counted": "56"},
    "07_writing": {"nucleus": "3", "without_cache": "5050"},
    "09_weights_by_hand": {"first": "72", "rounded": "256", "stride": "3"},
    "10_moving_average": {"wrong": "1", "oldest": "9", "carried": "64"},
    "11_gated_attention": {"compared": "192", "held": "2"},
    "12_rotary_groups_and_cache": {"key_head": "4", "pairs": "16", "times": "1"},
    "13_byte_pairs": {"unmerged": "10", "left": "3", "least": "5"},
    "14_step_through_a_sentence": {"without_partner": "3", "sure": "28"},
}

each_tutorial = pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)


def run(
    path: Path, folder: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a tutorial as a reader does, in a folder of its own, with warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-B", str(path), *arguments],
        cwd=folder,
        env={"OMP_NUM_THREADS": "1"}  # threads of small products only wait for each other
        | os.environ
        | {"PYTHONPATH": str(FOLDER.parent), "PYTHONIOENCODING": "utf-8"}
        | variables,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=HANG,
        check=False,
    )


def cells(path: Path) -> list[tuple[str, list[str]]]:
    """The cells of a percent-format script: the marker of each, and its lines."""
    found: list[tuple[str, list[str]]] = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("# %%"):
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return found


@each_tutorial
def test_runs(path: Path, tmp_path: Path, minilm: Path) -> None:
    weights = {} if path in NEED_WEIGHTS else {"TINYBERT_HOME": str(tmp_path / "empty")}
    draws = path in DRAW and importlib.util.find_spec("matplotlib")
    before = os.times()
    result = run(path, tmp_path, *["drawn.png"] * bool(draws), **weights)
    after = os.times()
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert after.children_user - before.children_user < SLOWEST
    if draws:  # where asked
        picture = (tmp_path / "drawn.png").read_bytes()
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(picture) > 10_000  # a blank canvas is far smaller
        (tmp_path / "drawn.png").unlink()
    assert list(tmp_path.iterdir()) == []  # it leaves nothing behind


@pytest.mark.parametrize("path", NEED_WEIGHTS, ids=lambda path: path.stem)
def test_without_weights_names_the_one_command(path: Path, tmp_path: Path) -> None:
    result = run(path, tmp_path, TINYBERT_HOME=str(tmp_path / "empty"))
    assert result.returncode
    (line,) = result.stderr.splitlines()
    assert "run `tinybert fetch minilm`" in line


@each_tutorial
def test_is_one_sitting_in_percent_format(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < LONGEST
    markers = [marker for marker, _ in cells(path)]
    assert set(markers) == {"# %%", "# %% [markdown]"}
    assert markers[0] == "# %% [markdown]"
    for marker, lines in cells(path):
        if marker == "# %% [markdown]":
            assert all(line.startswith("#") or not line for line in lines), lines


def test_each_names_the_next() -> None:
    for path, after in pairwise(TUTORIALS):
        last = path.read_text("utf-8").splitlines()[-1]
        assert last.startswith("# Next: ")
        assert last.endswith(f", {after.name}.")


@each_tutorial
def test_every_claim_is_followed_by_an_assertion(path: Path) -> None:
    """After the introduction every piece of prose has its assertion before the next one begins."""
    source = path.read_text("utf-8")
    asserts = [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    prose = [i for i, line in enumerate(source.splitlines(), 1) if line == "# %% [markdown]"]
    ends = [*prose[2:], len(source.splitlines()) + 1]
    for start, end in zip(prose[1:], ends, strict=True):
        assert any(start < line < end for line in asserts), f"{path.name}:{start} asserts nothing"


def test_every_question_has_its_answer_here() -> None:
    questions = {
        path.stem: set(re.findall(r"^(\w+) = None  # ", path.read_text("utf-8"), re.MULTILINE))
        for path in TUTORIALS
    }
    assert {stem: found for stem, found in questions.items() if found} == {
        stem: set(answers) for stem, answers in ANSWERS.items()
    }


def with_answers(source: str, answers: dict[str, str]) -> str:
    """The source after a reader has answered some of its questions."""
    for name, answer in answers.items():
        source = source.replace(f"\n{name} = None  # ", f"\n{name} = {answer}  # ")
    return source


@pytest.mark.parametrize("stem", ANSWERS)
def test_right_answers_are_taken_and_wrong_ones_are_not(
    stem: str, tmp_path: Path, minilm: Path
) -> None:
    """A copy is run with the right answers, and goes on to its last cell with each wrong one.

    It prints to a pipe as it is on many a Windows, which lacks most letters of the world.
    """
    source = (FOLDER / f"{stem}.py").read_text("utf-8")
    questions = "\n".join(["", *cells(FOLDER / f"{stem}.py")[-1][1], ""])
    for name in ANSWERS[stem]:
        assert questions.count(f"\n{name} = None  # ") == 1
    copy = with_answers(source, ANSWERS[stem])
    for name, answer in ANSWERS[stem].items():
        wrong = "False" if answer == "True" else f"{answer} + 1"
        last_cell = with_answers(questions, {name: wrong})
        copy += (
            f"\ntry:\n    exec({last_cell!r})\n"
            f"except AssertionError:\n    print('refused', {name!r})\n"
        )
    path = tmp_path / f"{stem}.py"
    path.write_text(copy, "utf-8")
    result = run(path, tmp_path, PYTHONIOENCODING="cp1252")
    assert result.returncode == 0, result.stderr
    refused = [line for line in result.stdout.splitlines() if line.startswith("refused ")]
    assert refused == [f"refused {name}" for name in ANSWERS[stem]]
