"""The lessons are programs of one sitting: each runs from top to bottom, without a warning, checks
itself, and has the form that a reader can rely on.

They are found in their folder, so that a new one is tested without a change here.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tinybert.learn.catalogue import NAMES, task_of
from tinybert.learn.lessons import Cell, read_cells

FOLDER = Path(__file__).parents[1] / "tutorials"
LESSONS = sorted(FOLDER.glob("*.py"))
LONGEST, LONGEST_CELL, MOST_MINUTES = 150, 20, 20  # lines, lines, minutes
SLOWEST = 120  # seconds of a processor
HANG = 1800  # seconds
QUESTION = re.compile(r"^(\w+) = None  # ", re.MULTILINE)
ANSWERS: dict[str, dict[str, str]] = {  # to the questions, `name = None  # ...`, of a lesson
    "01_the_tape": {"nodes": "8"},
    "02_broadcasting": {"terms": "6"},
    "03_your_own_function": {"gradient": "12"},
    "06_safetensors_by_hand": {"start": "392"},
    "08_longest_piece": {"lookups_of_zerowidth": "13"},
    "10_rows_pairs_windows": {"rows_at_stride_10": "7"},
    "13_offsets_and_numbers": {"symbols": "10"},
    "15_softmax_and_cross_entropy": {"slope": "-0.75"},
    "16_gelu": {"smallest": "-0.17"},
    "17_layer_norm": {"passed": "0"},
    "18_why_sqrt_k": {"largest_weight": "0.5"},
    "19_attention_heads": {"divisor": "8"},
    "20_masks": {"pairs": "15"},
    "21_relative_positions": {"rows_of_E": "1023"},
    "22_without_the_matrix": {"largest": "3072"},
    "23_what_heads_look_at": {"maps": "384"},
    "24_a_layer_backward": {"zero_at_padding": "True"},
    "32_pre_training": {"best": "0.75"},
    "35_repetition": {"penalized": "-4.5"},
    "36_beams": {"count": "3000"},
    "37_cache_and_left_padding": {"without_cache": "5050"},
    "38_pytorch_files": {"stride": "3"},
    "39_bfloat16": {"after_1023": "1024"},
    "41_moving_average": {"oldest": "9"},
    "42_fourier_and_causality": {"wrong": "1"},
    "46_chunks_and_decoding": {"held": "2"},
    "47_rotary": {"number_of_pairs": "16"},
    "48_grouped_queries": {"key_head": "4"},
    "52_prune_and_distil": {"rows": "64"},
    "53_split_a_layer": {"right": "-3.50"},
    "54_what_an_all_reduce_costs": {"sent": "1996000"},
    "55_the_bubble_of_a_pipeline": {"fraction": "0.1094"},
}

each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def cells(path: Path) -> list[Cell]:
    return list(read_cells(path.read_text("utf-8")))


def run(path: Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a lesson as a reader does, in an empty folder, without a network or other models."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-W", "error", "-B", str(path)],
        cwd=folder,
        env={"OMP_NUM_THREADS": "1"}  # threads of small products only wait for each other
        | os.environ
        | {"PYTHONPATH": str(FOLDER.parent), "TINYBERT_HOME": str(home)}
        | {"PYTHONIOENCODING": "utf-8"}
        | variables,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=HANG,
        check=False,
    )


@pytest.mark.slow
@each_lesson
def test_runs(path: Path, tmp_path: Path) -> None:
    before = os.times()
    result = run(path, tmp_path)
    after = os.times()
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert after.children_user - before.children_user < SLOWEST
    assert [entry.name for entry in tmp_path.iterdir()] == ["home"]  # it leaves nothing behind
    assert not list((tmp_path / "home").iterdir())


@pytest.mark.slow
@each_lesson
@pytest.mark.parametrize(("kernel", "threads"), [("Nehalem", "1"), ("Haswell", "2")])
def test_runs_with_other_kernels(path: Path, kernel: str, threads: str, tmp_path: Path) -> None:
    """OpenBLAS sums in another order on other processors and threads."""
    settings = {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    result = run(path, tmp_path, OPENBLAS_CORETYPE=kernel, **settings)
    assert result.returncode == 0, result.stderr


@each_lesson
def test_has_the_form_of_a_lesson(path: Path) -> None:
    source = path.read_text("utf-8")
    assert len(source.splitlines()) <= LONGEST
    first, *others = cells(path)
    number = int(path.stem.partition("_")[0])
    assert re.match(rf"# {number}\. \S", first.text)
    for promise in ("**You will be able to**", "**You need**", "**Minutes** "):
        assert first.text.count(promise) == 1, promise
    assert 1 <= int(re.findall(r"\*\*Minutes\*\* (\d+)", first.text)[0]) <= MOST_MINUTES
    assert "| symbol | shape | meaning |" in first.text
    assert not first.is_code
    for cell in others:
        assert not cell.is_code or len(cell.text.splitlines()) <= LONGEST_CELL, cell.line
    calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call)]
    names = [getattr(call.func, "id", getattr(call.func, "attr", "")) for call in calls]
    assert names.count("show") >= 2
    assert "print" in names
    assert "model_folder" not in source, "nothing is downloaded"


@each_lesson
def test_ends_with_its_exercises(path: Path) -> None:
    last = cells(path)[-1]
    assert not last.is_code
    exercises = re.search(r"^Exercises: (.*?)\.$", last.text, re.MULTILINE)
    assert exercises, last.text
    named = re.findall(r"`([^`]+)`", exercises[1])
    assert named or exercises[1] == "none"
    assert set(named) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_is_named_by_its_lesson(name: str) -> None:
    (path,) = FOLDER.glob(f"{task_of(name).exercise.lesson:02}_*.py")
    assert f"`{name}`" in cells(path)[-1].text


def test_each_names_the_next() -> None:
    for path, after in pairwise(LESSONS):
        assert cells(path)[-1].text.endswith(f"Next: {after.name}.")


@each_lesson
def test_every_claim_is_followed_by_an_assertion(path: Path) -> None:
    """After the introduction every piece of prose has its assertion before the next one begins."""
    source = path.read_text("utf-8")
    asserts = [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    prose = [cell.line for cell in cells(path) if not cell.is_code]
    for start, end in pairwise(prose[1:]):
        assert any(start < line < end for line in asserts), f"{path.name}:{start} asserts nothing"


def test_every_question_has_its_answer_here() -> None:
    questions = {path.stem: set(QUESTION.findall(path.read_text("utf-8"))) for path in LESSONS}
    found = {stem: names for stem, names in questions.items() if names}
    assert found == {stem: set(answers) for stem, answers in ANSWERS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("stem", ANSWERS)
def test_right_answers_are_taken_and_wrong_ones_are_not(stem: str, tmp_path: Path) -> None:
    """With the right answers a lesson runs; with one wrong it stops at an assertion."""
    source = (FOLDER / f"{stem}.py").read_text("utf-8")
    right = source
    for name, answer in ANSWERS[stem].items():
        right = right.replace(f"\n{name} = None  # ", f"\n{name} = {answer}  # ")
    path = tmp_path / f"{stem}.py"
    path.write_text(right, "utf-8")
    # It prints to a pipe as it is on many a Windows, which lacks most letters of the world.
    result = run(path, tmp_path, PYTHONIOENCODING="cp1252")
    assert result.returncode == 0, result.stderr
    for name, answer in ANSWERS[stem].items():
        wrong = "False" if answer == "True" else f"{answer} + 1"
        path.write_text(
            right.replace(f"\n{name} = {answer}  # ", f"\n{name} = {wrong}  # "), "utf-8"
        )
        assert "AssertionError" in run(path, tmp_path).stderr, name
