"""Re-ranking against transformers' model with the function that sentence-transformers applies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from tests.pipelines.twins import ATOL, Make, model_folder  # noqa: F401 (a fixture)
from tinybert.search import CrossEncoder, search

QUERY = "Who went to Egypt?"
PASSAGES = [
    "The king went to war.",
    "A ship of gold,\nand salt.",
    "Egypt",
    "It rained in Egypt. " * 40,
]


@pytest.fixture(scope="module")
def folder(model_folder: Make) -> Path:  # noqa: F811
    return model_folder("BertForSequenceClassification", num_labels=1)


def their_logits(folder: Path) -> np.ndarray:
    """As `CrossEncoder.predict` of sentence-transformers 6.2.0 computes them."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(
        [[QUERY, passage] for passage in PASSAGES],
        padding=True, truncation=True, max_length=64, return_tensors="pt",
    )  # fmt: skip
    with torch.no_grad():
        return model(**inputs).logits[:, 0].numpy()


def test_scores_are_those_of_sentence_transformers(folder: Path) -> None:
    logits = their_logits(folder)
    assert np.ptp(logits) > 0.01
    expected = 1 / (1 + np.exp(-logits))
    ours = CrossEncoder.from_pretrained(folder).predict(QUERY, PASSAGES)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=ATOL)


IDENTITY = "torch.nn.modules.linear.Identity"


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("config_sentence_transformers.json", {"activation_fn": IDENTITY}),
        ("config.json", {"sentence_transformers": {"activation_fn": IDENTITY}}),
        ("config.json", {"sbert_ce_default_activation_function": IDENTITY}),
    ],
)
def test_files_can_ask_for_the_logit(
    folder: Path, file: str, options: dict, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    content = json.loads((folder / file).read_text()) if file == "config.json" else {}
    (tmp_path / file).write_text(json.dumps(content | options))
    ours = CrossEncoder.from_pretrained(tmp_path).predict(QUERY, PASSAGES)
    np.testing.assert_allclose(ours, their_logits(folder), rtol=0, atol=ATOL)


def test_other_functions_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "config_sentence_transformers.json"
    path.write_text(json.dumps({"activation_fn": "os.system"}))
    with pytest.raises(ValueError, match=r"activation function 'os\.system' is not supported"):
        CrossEncoder.from_pretrained(tmp_path)


def test_the_best_candidates_are_sorted_again(folder: Path, embedder, notes: Path) -> None:
    reranker = CrossEncoder.from_pretrained(folder)
    first = search(QUERY, [notes], embedder, top_k=4).hits
    expected = reranker.predict(QUERY, [hit.text for hit in first])
    assert [*expected.argsort()[::-1]] != [0, 1, 2, 3]  # the order changes
    found = search(QUERY, [notes], embedder, top_k=2, reranker=reranker, candidates=4).hits
    best = expected.argsort()[::-1][:2]
    assert [hit.text for hit in found] == [first[i].text for i in best]
    np.testing.assert_allclose([hit.score for hit in found], expected[best], rtol=0, atol=ATOL)
    assert len(search(QUERY, [notes], embedder, top_k=5, reranker=reranker, candidates=1).hits) == 5


def test_models_that_are_not_cross_encoders(model_folder: Make, minilm: Path) -> None:  # noqa: F811
    three = model_folder("BertForSequenceClassification", num_labels=3)
    with pytest.raises(ValueError, match="classifies with 3 labels; re-ranking needs a cross-enc"):
        CrossEncoder.from_pretrained(three)
    untrained = model_folder("BertModel", num_labels=1)
    with pytest.raises(ValueError, match=r"is not a trained cross-encoder: it lacks .*classifier"):
        CrossEncoder.from_pretrained(untrained)
