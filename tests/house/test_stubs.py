"""Type checkers know what `tinybert` exports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import stubs

USER = """\
import tinybert as torch
from tinybert import BertModel, SentenceEmbedder, functional as F

x: torch.Tensor = F.gelu(torch.tensor([1.0]))
reveal_type(torch.inference_mode())
reveal_type(torch.cat([x, torch.arange(3)]).long())
reveal_type(torch.topk(x, 1)[0])
print(x.size(), x.size, torch.float32, torch.no_grad, BertModel, SentenceEmbedder, torch.pipeline)
"""


@pytest.mark.parametrize("package", stubs.PACKAGES)
def test_the_stubs_name_what_the_front_pages_export(package: str) -> None:
    written = stubs.path(package).read_text("utf-8")
    assert written == stubs.stub(package), "python -m tests.house.stubs --write"


@pytest.mark.slow
def test_a_strict_type_checker_knows_the_names(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(USER)
    options = ["--strict", "--config-file", "", "--ignore-missing-imports"]
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--follow-imports", "silent", "user.py"],
        cwd=tmp_path, env={"MYPYPATH": str(stubs.ROOT.parent)}, capture_output=True, text=True,
    )  # fmt: skip
    notes = [line.partition("note: ")[2] for line in ran.stdout.splitlines()]
    tensor = 'Revealed type is "tinybert.autograd.tensor.Tensor"'
    mode = 'Revealed type is "tinybert.autograd.modes.no_grad"'
    assert (ran.returncode, notes[:3]) == (0, [mode, tensor, tensor]), ran.stdout
