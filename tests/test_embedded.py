"""The model of the package: its vectors, its words, and what its card says of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import tinybert
from recipes.embedded_model import report
from tinybert.embedding import similarity
from tinybert.fetch import model_folder

CARD = (model_folder() / "README.md").read_text("utf-8")
ROOT = Path(tinybert.__file__).parents[1]


def test_its_similarities_are_those_of_its_teacher(minilm: Path) -> None:
    texts = list(report.TEXTS)
    ours, teacher = (
        similarity(tinybert.SentenceEmbedder.from_pretrained(folder).encode(texts))
        for folder in (model_folder(), minilm)
    )
    assert np.abs(ours - teacher).max() < 0.15
    others = ~np.eye(len(texts), dtype=bool)
    assert np.corrcoef(ours[others], teacher[others])[0, 1] > 0.95


def test_the_card_has_what_the_model_predicts() -> None:
    """With the probabilities: two processors may order nearly equal ones differently."""
    shown = dict(re.findall(r"^\| (.*\[MASK\].*?) \| (.*) \|$", CARD, re.MULTILINE))
    assert tuple(shown) == report.PROMPTS
    fill = tinybert.pipeline("fill-mask")
    for prompt in report.PROMPTS:
        expected = {word["token_str"]: word["score"] for word in fill(prompt, top_k=8)}
        found = [text.rpartition(" ") for text in shown[prompt].split(" · ")]
        assert len(found) == 5
        for word, _, score in found:
            assert float(score) == pytest.approx(expected[word], abs=0.006), (prompt, word)


def test_the_documents_have_no_gaps_and_their_links_lead_somewhere() -> None:
    for path in (model_folder() / "README.md", ROOT / "recipes/embedded_model/README.md"):
        text = path.read_text("utf-8")
        assert "FIGURE" not in text
        for link in re.findall(r"\]\(((?!https?:)[^)]+)\)", text):
            assert (path.parent / link).exists(), link
