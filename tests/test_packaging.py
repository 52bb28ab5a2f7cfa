"""What the wheel holds, and what its page on a package index shows. Slow: builds need a network."""

from __future__ import annotations

import ast
import email
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tinybert

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
    others = {name.split("/")[0] for name in names} - {"tinybert"}
    assert {name for name in others if not name.endswith(".dist-info")} == set()


@pytest.mark.slow
def test_the_page_of_the_package_has_no_broken_links(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    page = email.message_from_bytes(wheel.read(name))
    text = str(page.get_payload())
    assert page["Description-Content-Type"] == "text/markdown"
    assert "Tutorials" in text
    assert len(text) > 10_000
    assert not re.findall(r"\]\((?!https?:)", text)
    assert "1. Automatic differentiation: gradients by hand" in text


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
