"""The model of the package: its vectors, its words, and what its card says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tinybert
from tinybert import embedded, hub
from tinybert.cli.card_scores import answers_now, is_same
from tinybert.embedded.card import read_card
from tinybert.embedding import similarity
from tinybert.fetch import model_folder
from tinybert.hub_cache import ADAPTER

TEXTS = [
    "A man eats food.", "Someone is having lunch.", "The sky is blue.",
    "How do I reset my password?", "I cannot log in to my account.", "The invoice is wrong.",
]  # fmt: skip
HEADS = [name for name in embedded.names() if (hub.resolve(name) / ADAPTER).exists()]


def test_its_similarities_are_those_of_its_teacher(minilm: Path) -> None:
    ours, teacher = (
        similarity(tinybert.SentenceEmbedder.from_pretrained(folder).encode(TEXTS))
        for folder in (model_folder(), minilm)
    )
    assert np.abs(ours - teacher).max() < 0.075  # as the card says
    others = ~np.eye(len(TEXTS), dtype=bool)
    assert np.corrcoef(ours[others], teacher[others])[0, 1] > 0.95


@pytest.mark.parametrize("name", embedded.names())
def test_the_card_has_what_the_model_answers(name: str) -> None:
    card = read_card(hub.resolve(name))
    for example, found in zip(card.examples.prompts, answers_now(card, name), strict=True):
        assert is_same(example, found), (example, found)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_small(name: str) -> None:
    assert sum(path.stat().st_size for path in hub.resolve(name).glob("*.safetensors")) < 1.2e6


LESS_IS_BETTER = ("bits_per_character", "perplexity")


@pytest.mark.parametrize("name", [*HEADS, "embedded-writer"])
def test_a_model_beats_its_baseline(name: str) -> None:
    for score in read_card(hub.resolve(name)).scores:
        assert score.baseline is not None
        gain = score.value - score.baseline.value
        assert (-gain if score.metric in LESS_IS_BETTER else gain) > (score.spread or 0)
