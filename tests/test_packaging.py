"""What the wheel holds, what its page on a package index shows, and what works after installing.

Slow: builds need a network.
"""

from __future__ import annotations

import ast
import email
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tinybert
from tinybert import embedded
from tinybert.fetch import model_folder

ROOT = Path(tinybert.__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT]
    subprocess.run(command, check=True)
    (path,) = folder.glob("tinybert-*.whl")
    return zipfile.ZipFile(path)


@pytest.mark.slow
def test_the_wheel_is_complete(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tinybert").rglob("*.py")}
    assert modules <= names
    assert "tinybert/py.typed" in names  # without it, type checkers ignore our annotations
    tutorials = {f"tinybert/tutorials/{path.name}" for path in (ROOT / "tutorials").glob("*.py")}
    assert tutorials
    assert tutorials <= names
    for model in map(model_folder, embedded.names()):
        files = {f.relative_to(ROOT).as_posix() for f in model.rglob("*") if f.is_file()}
        assert files <= names
        notice = (model / "NOTICE").relative_to(ROOT).as_posix()
        assert notice not in files or any(name.endswith(f"licenses/{notice}") for name in names)
    assert os.path.getsize(str(wheel.filename)) < 28_000_000
    others = {name.split("/")[0] for name in names} - {"tinybert"}
    assert {name for name in others if not name.endswith(".dist-info")} == set()


# Loaded when Python starts: whatever asks for the network fails. The last line of standard error is
# the processor time, which other programs on a busy machine hardly change.
START = """
import atexit, sys, time
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError("there is no network")
sys.addaudithook(refuse)
atexit.register(lambda: print(time.process_time(), file=sys.stderr))
"""
NOTES = "The meeting is on Monday.\n\nWe are not liable for any damage.\n\nThe sky is blue.\n"
# A command, what to take from its JSON, and the right answer.
QUESTIONS: list[tuple[list[str], Callable[[Any], Any], Any]] = [
    (
        ["similarity", "A man eats food.", "The sky is blue.", "Someone is having lunch."],
        lambda found: found["closest"][0]["pair"],
        [0, 2],
    ),
    (["embed", "A man eats food."], lambda found: found["shape"], [1, 384]),
    (
        ["search", "Who pays if something breaks?", "notes.txt"],
        lambda found: found["results"][0]["line"],
        3,
    ),
    (["tokenize", "Unbelievable!"], lambda found: found[0]["tokens"][1], "unbelievable"),
    (
        ["fill-mask", "Paris is the capital of [MASK]."],
        lambda found: found["results"][0]["masks"][0][0]["token_str"],
        "paris",
    ),
]


@pytest.mark.slow
def test_without_a_network_the_installed_wheel_answers_in_a_second(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    """The dependencies are this environment's, tinybert is the wheel's, and the home is empty."""
    site, home = tmp_path / "site", tmp_path / "home"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*install, "--target", site, str(wheel.filename)], check=True)
    (site / "sitecustomize.py").write_text(START)
    home.mkdir()
    (home / "notes.txt").write_text(NOTES)
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    homes = {name: str(home) for name in ("HOME", "USERPROFILE", "LOCALAPPDATA")}
    environment = {**kept, **homes, "PYTHONPATH": str(site), "OPENBLAS_NUM_THREADS": "1"}

    for command, answer, expected in QUESTIONS:
        seconds: list[float] = []
        while len(seconds) < 5 and min(seconds, default=1) >= 1:
            ran = subprocess.run(
                [sys.executable, "-m", "tinybert", *command, "--json"],
                cwd=home, env=environment, check=True, capture_output=True, text=True,
            )  # fmt: skip
            assert answer(json.loads(ran.stdout)) == expected
            seconds.append(float(ran.stderr.splitlines()[-1]))
        print(command[0], *(f"{s:.2f} s" for s in seconds))
        assert min(seconds) < 1, command


@pytest.mark.slow
def test_the_page_of_the_package_has_no_broken_links(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    page = email.message_from_bytes(wheel.read(name))
    text = str(page.get_payload())
    assert page["Description-Content-Type"] == "text/markdown"
    assert "Lessons" in text
    assert len(text) > 10_000
    assert not re.findall(r"\]\((?!https?:)", text)
    assert "1. The tape: how gradients come back" in text


def test_the_substitutions_of_the_page_remove_all_relative_links() -> None:
    """The same, without a build."""
    tomllib = pytest.importorskip("tomllib", reason="it came with Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    text = (ROOT / "README.md").read_text("utf-8")
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for step in hook["substitutions"]:
        text = re.sub(step["pattern"], step["replacement"], text)
    assert not re.findall(r"\]\((?!https?:)", text)


def test_messages_name_no_file_that_only_the_repository_has() -> None:
    """A user of the wheel does not have it; docstrings and comments may name one."""
    only_here = re.compile(r"constraints\.txt|\btutorials/|\bdocs/|\btests/|\bthe README")
    for path in (ROOT / "tinybert").rglob("*.py"):
        nodes = [*ast.walk(ast.parse(path.read_text("utf-8")))]
        alone = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert id(node) in alone or not only_here.search(node.value), (
                    f"{path}: {node.value}"
                )
