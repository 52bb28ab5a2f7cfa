"""The changes of CONTRIBUTING.md are made to a copy of the package, and work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
CHANGES = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
BLOCK = re.compile(r"^```(\w+)(?: ([\w/.]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.partition("\n")[0])
def test_a_change_works(change: str, tmp_path: Path) -> None:
    package = tmp_path / "tinybert"
    shutil.copytree(ROOT / "tinybert", package, ignore=shutil.ignore_patterns("__pycache__"))
    files, checks = [], []
    for language, name, text in BLOCK.findall(change):
        if language == "diff":
            call = ["git", "apply", "--unidiff-zero", "-"]
            subprocess.run(call, input=text.encode(), cwd=tmp_path, check=True)
        elif name == "check":
            checks.append(text)
        else:
            (tmp_path / name).write_text(text, "utf-8")
            files.append(name)
    assert len(files) == len(checks) == 1
    subprocess.run([sys.executable, "-c", checks[0]], cwd=tmp_path, check=True)
    for tool in (
        ["ruff", "format", "--check"],
        ["ruff", "check"],
        ["mypy", "--follow-imports=silent"],
    ):
        config = [
            "--config" if tool[0] == "ruff" else "--config-file",
            str(ROOT / "pyproject.toml"),
        ]
        subprocess.run([sys.executable, "-m", *tool, *config, *files], cwd=tmp_path, check=True)
