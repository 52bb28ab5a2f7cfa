"""What the tests of the search share: a random model, and a folder of texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.twins import Make, model_folder  # noqa: F401 (a fixture)
from tests.search.notes import write_notes
from tinybert.embedding import SentenceEmbedder


@pytest.fixture(scope="session")
def embedder(model_folder: Make) -> SentenceEmbedder:  # noqa: F811
    return SentenceEmbedder.from_pretrained(model_folder("BertModel"))


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return write_notes(tmp_path / "notes")
