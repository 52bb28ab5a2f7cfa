"""`tinybert demo`: the list, what is refused, and every demo with what it claims."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinybert.learn.demos import DEMOS, FOLDER, script_of

# Two lines of each demo's output, as patterns: what the demo is to show.
SHOWN = {
    "masked-words": ("she drank a cup of", r"0\.\d\d  tea"),
    "sentence-search": (r"kitchen\.txt:3  Boil the eggs", r"travel\.txt:3  A passport"),
    "question-answering": (r"right: (3[5-9]|4\d|50) of 50 new", "with other words"),
    "generation": ("the dog barks at the moon", "11,447 parameters"),
    "loading-report": ("<- A head for 4 classes", "gamma was used as .*weight"),
    "first-bytes": ("is a Git LFS pointer", "is an HDF5 file"),
    "seven-formats": (r"^PyTorch +hand", r"(?s)(23 of 23.*){7}"),
    "different-logits": ("0.00000  none", "1. padding without"),
}
SLOW = {"question-answering", "generation", "different-logits"}


def test_the_list_names_every_script(tinybert) -> None:
    code, out, err = tinybert("demo")
    assert (code, err) == (0, "")
    assert out == tinybert("demo", "list").out
    scripts = {path.stem.replace("_", "-") for path in FOLDER.glob("*.py")}
    assert scripts == {"--init--", *DEMOS}
    assert [line.split()[0] for line in out.splitlines()[1:-2]] == [*DEMOS]
    assert max(map(len, out.splitlines())) <= 80
    listed = json.loads(tinybert("demo", "--json").out)
    assert [row["name"] for row in listed] == [*DEMOS]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("list masked-words", "demo list takes no NAME, got 'masked-words'"),
        ("run", "demo run needs the NAME of a demo; see tinybert demo list"),
        ("run masked-words --json", "--json is an option of list, not of run"),
        ("run seven-format", "there is no demo 'seven-format'; did you mean seven-formats?"),
        ("run xyz", "there is no demo 'xyz'; see `tinybert demo list`"),
    ],
)
def test_what_is_refused(refused, words: str, error: str) -> None:
    assert error in refused("demo", *words.split())


def test_run_prints_the_output_and_the_path_of_the_script(tinybert) -> None:
    code, out, err = tinybert("demo", "run", "first-bytes")
    assert code == 0
    assert out.startswith("\nas it should be\n")
    assert err == f"\nscript: {FOLDER / 'first_bytes.py'}\n"


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in DEMOS]
)
def test_a_demo_shows_what_it_claims_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-B", str(script_of(name))],
        cwd=tmp_path,
        env={"OMP_NUM_THREADS": "1"}
        | os.environ
        | {"PYTHONPATH": str(FOLDER.parents[2]), "TMPDIR": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    for pattern in SHOWN[name]:
        assert re.search(pattern, ran.stdout, re.MULTILINE), ran.stdout
    assert not list(tmp_path.iterdir())
