"""Every deviation names a test that exists."""

import ast
from pathlib import Path

import pytest

import tinybert

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("deviation", tinybert.deviations, ids=lambda d: d.what[:40])
def test_its_test_exists(deviation: tinybert.deviations.__class__) -> None:
    file, _, name = deviation.test.partition("::")
    functions = ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
    assert name in {node.name for node in functions if isinstance(node, ast.FunctionDef)}
    assert all(deviation)
