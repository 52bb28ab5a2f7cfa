"""What a reader of one module has to know of."""

from __future__ import annotations

import subprocess
import sys

from tests.house.closure import count


def test_a_closure_follows_imports_and_resolves_front_pages() -> None:
    assert count("tinybert.display") == set()
    assert count("tinybert.checks") == {"tinybert.display"}
    assert count("tinybert.atomic") == {"tinybert.recovery"}
    assert count("tinybert.weights.dtypes") == set()
    assert {"tinybert.weights.header", "tinybert.weights.dtypes"} <= count(
        "tinybert.weights.safetensors"
    )
    behind = count("tinybert.models.bert")
    assert "tinybert.weights.folder" in behind  # by `from tinybert.weights import ...`
    assert "tinybert.weights" not in behind


def test_models_do_not_know_the_formats_of_other_frameworks() -> None:
    behind = count("tinybert.models.bert") | count("tinybert.models.auto")
    assert not {module for module in behind if module.startswith("tinybert.formats")}


def test_importing_tinybert_imports_no_reader_of_a_foreign_format() -> None:
    code = "import sys, tinybert; print(*(m for m in sys.modules if m.startswith('tinybert.')))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {m for m in ran.stdout.split() if m.startswith("tinybert.formats.")}
    assert loaded == {"tinybert.formats.registration"}
