"""`tinybert tutorials` finds, copies and runs the lessons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinybert.cli.main import main
from tinybert.learn.lessons import Lesson, lesson_of, lessons, read_cells


def test_cells_are_split_at_their_markers() -> None:
    source = "before\n# %% [markdown]\n# # 1. Title\n#\n# text\n\n# %%\nx = 1\n\nx + 1\n"
    title, code = read_cells(source)
    assert (title.is_code, title.text, title.line) == (False, "# 1. Title\n\ntext", 3)
    assert (code.is_code, code.text, code.line) == (True, "x = 1\n\nx + 1", 8)
    lines = source.splitlines()
    assert lines[code.line - 1] == "x = 1"


def test_every_lesson_is_found_by_its_number_and_its_name() -> None:
    known = lessons()
    assert [lesson.number for lesson in known] == list(range(1, len(known) + 1))
    for lesson in known:
        assert lesson_of(str(lesson.number)) == lesson_of(lesson.path.stem) == lesson
        assert lesson.title != lesson.path.stem
        source = lesson.path.read_text("utf-8").splitlines()
        for cell in lesson.cells:
            if cell.is_code:
                assert source[cell.line - 1 :][: len(cell.text.splitlines())] == (
                    cell.text.splitlines()
                )


@pytest.mark.parametrize("name", ["", "nothing like it", "0", "1.5", "_"])
def test_no_lesson_or_several_are_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=r"there is no lesson|several lessons"):
        lesson_of(name)


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tutorials", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["title"] for row in rows] == [lesson.title for lesson in lessons()]
    assert main(["tutorials"]) == 0
    assert all(lesson.title in capsys.readouterr().out for lesson in lessons()[:1])


def test_a_copy_that_was_changed_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "folder"
    arguments = ["tutorials", "open", "1", "--folder", str(folder)]
    assert main(arguments) == 0
    (copy,) = folder.iterdir()
    assert copy.read_bytes() == lesson_of("1").path.read_bytes()
    assert "python -m pdb" in capsys.readouterr().out
    copy.write_text("mine", "utf-8")
    assert main(arguments) == 0
    assert copy.read_text("utf-8") == "mine"
    assert "is left as it is" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["open"], "needs a LESSON"),
        (["run", "99"], "no lesson '99'"),
        (["list", "1"], "takes no LESSON"),
        (["run", "1", "--notebook"], "--notebook is an option of open"),
        (["run", "1", "--json"], "--json is an option of list"),
    ],
)
def test_a_wrong_call_says_what_to_do(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tutorials", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.path.stem)
def test_every_lesson_runs_as_a_notebook_and_shows_pictures(lesson: Lesson, tmp_path: Path) -> None:
    pytest.importorskip("jupytext")
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    call = ["tutorials", "open", lesson.path.stem, "--notebook", "--folder", str(tmp_path)]
    assert main(call) == 0
    (path,) = tmp_path.iterdir()
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [
        output for output in outputs if "<svg" in output.get("data", {}).get("text/html", "")
    ]
    assert len(pictures) >= 2
