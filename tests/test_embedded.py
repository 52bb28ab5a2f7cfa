"""The model of the package: its vectors, its words, and what its card says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tinybert
from recipes.heads import report as head_report
from tinybert.embedded import folder_of
from tinybert.embedded.card import read_card
from tinybert.embedding import similarity
from tinybert.fetch import model_folder

TEXTS = [
    "A man eats food.", "Someone is having lunch.", "The sky is blue.",
    "How do I reset my password?", "I cannot log in to my account.", "The invoice is wrong.",
]  # fmt: skip
CARD = read_card(model_folder())
HEADS = [head for head in head_report.PROMPTS if folder_of(f"embedded-{head}")]


def test_its_similarities_are_those_of_its_teacher(minilm: Path) -> None:
    ours, teacher = (
        similarity(tinybert.SentenceEmbedder.from_pretrained(folder).encode(TEXTS))
        for folder in (model_folder(), minilm)
    )
    assert np.abs(ours - teacher).max() < 0.075  # as the card says
    others = ~np.eye(len(TEXTS), dtype=bool)
    assert np.corrcoef(ours[others], teacher[others])[0, 1] > 0.95


def test_the_card_has_what_the_model_predicts() -> None:
    """With the probabilities: two processors may order nearly equal ones differently."""
    fill = tinybert.pipeline("fill-mask")
    for example in CARD.examples.prompts:
        expected = {word["token_str"]: word["score"] for word in fill(example.prompt, top_k=8)}
        assert len(example.answers) == 5
        for answer in example.answers:
            assert answer.score == pytest.approx(expected[answer.text], abs=0.006), example.prompt


@pytest.mark.parametrize("head", HEADS)
def test_the_card_of_a_head_has_what_it_answers(head: str) -> None:
    folder = folder_of(f"embedded-{head}")
    assert folder is not None
    card = read_card(folder)
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 1.2e6
    pipe = tinybert.pipeline(card.tasks[0], card.name)
    for texts, example in zip(head_report.PROMPTS[head], card.examples.prompts, strict=True):
        assert texts == (example.prompt, example.context)[: len(texts)]
        found = head_report.answers_of(pipe, *texts)
        expected = {answer.text: answer.score for answer in example.answers}
        assert {answer["text"]: answer["score"] for answer in found} == pytest.approx(
            expected, abs=0.011
        ), example.prompt


@pytest.mark.parametrize("head", HEADS)
def test_a_head_beats_its_baseline(head: str) -> None:
    folder = folder_of(f"embedded-{head}")
    assert folder is not None
    for score in read_card(folder).scores:
        assert score.baseline is not None
        assert score.value > score.baseline.value + (score.spread or 0)
