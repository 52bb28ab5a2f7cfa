"""Pre-training with the sentence vectors of a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tinybert
from tests.training.conftest import bert_config
from tinybert.training import TokenFile, Trainer, TrainingConfig, masked_loss
from tinybert.training.distillation import SentenceDistillation, SentenceVectors
from tinybert.training.language_modeling import LanguageModeling
from tinybert.weights import CheckpointError, save_file

SENTENCES = ("sentence_ids", "sentence_mask", "teacher")  # what a batch has beside masked text


def embedder(tokenizer: Any, seed: int) -> tinybert.SentenceEmbedder:
    with tinybert.manual_seed(seed):
        model = tinybert.BertModel(bert_config(len(tokenizer), hidden_size=32)).eval()
    return tinybert.SentenceEmbedder(tokenizer, model)


@pytest.fixture
def teacher(tokenizer: Any) -> tinybert.SentenceEmbedder:
    return embedder(tokenizer, 1)


@pytest.fixture
def vectors(tokenizer: Any, corpus: Path, teacher: Any, tmp_path: Path) -> SentenceVectors:
    tokens = TokenFile.build(tmp_path / "tokens", [corpus], tokenizer)
    return SentenceVectors.build(tmp_path / "teacher", tokens, [corpus], tokenizer, teacher)


def test_vectors_are_those_of_the_teacher(tokenizer: Any, teacher: Any, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("the cat sat .\n\n\x00\na dog ran in the park .\n")  # \x00 has no tokens
    tokens = TokenFile.build(tmp_path / "tokens", [text], tokenizer)
    found = SentenceVectors.build(tmp_path / "teacher", tokens, [text], tokenizer, teacher)
    expected = teacher.encode(["the cat sat .", "a dog ran in the park ."])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(found.vectors - expected).max() < 1e-3


def test_vectors_are_computed_once(
    vectors: SentenceVectors, tokenizer: Any, corpus: Path, teacher: Any, tmp_path: Path
) -> None:
    def build(teacher: Any) -> int:
        SentenceVectors.build(tmp_path / "teacher", vectors.tokens, [corpus], tokenizer, teacher)
        return (tmp_path / "teacher").stat().st_mtime_ns

    before = build(teacher)
    assert build(teacher) == before
    assert build(embedder(tokenizer, 2)) != before


def test_other_files_are_refused(vectors: SentenceVectors, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a file of sentence vectors"):
        SentenceVectors(vectors.tokens, tmp_path / "tokens")
    metadata = {"kind": "tinybert sentence vectors"}
    arrays = {"vectors": np.ones((3, 32), np.float16), "probe": np.ones((1, 32), np.float32)}
    save_file(arrays, tmp_path / "short", metadata)
    with pytest.raises(CheckpointError, match="of other sentences"):
        SentenceVectors(vectors.tokens, tmp_path / "short")


def distillation(tokenizer: Any, vectors: SentenceVectors, **options: Any) -> SentenceDistillation:
    task = LanguageModeling(tokenizer, length=20)
    return SentenceDistillation(task, vectors, **{"sentences": 6, **options})


def test_loss_is_the_formula(tokenizer: Any, vectors: SentenceVectors) -> None:
    task = distillation(tokenizer, vectors, weight=3.0)
    with tinybert.manual_seed(0):
        model = tinybert.BertForMaskedLM(bert_config(len(tokenizer))).eval()
    batch = next(task.batches(vectors.tokens, 4, seed=0))
    text = {name: batch[name] for name in batch if name not in SENTENCES}
    x = model.bert(batch["sentence_ids"], batch["sentence_mask"]).last_hidden_state
    x, t = torch.tensor(x.numpy()).double(), torch.tensor(batch["teacher"]).double()
    mask = torch.tensor(batch["sentence_mask"]).double()[:, :, None]
    v = torch.nn.functional.normalize((x * mask).sum(1) / mask.sum(1), dim=1)
    sentences = (1 - (v * t).sum(1)).mean() + 5 * ((v @ v.T - t @ t.T) ** 2).mean()
    expected = float(masked_loss(model, text)) + 3 * float(sentences)
    assert float(task.loss(model, batch)) == pytest.approx(expected, rel=1e-5)
    assert task.count(batch) == (batch["labels"] != -100).sum()


def test_batches_have_sentences_of_similar_length(tokenizer: Any, tmp_path: Path) -> None:
    words = ["cat", "dog", "the", "park", "town"]
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(words, int(n))) for n in rng.integers(1, 30, 400)]
    text = tmp_path / "text"
    text.write_text("\n".join(lines))
    tokens = TokenFile.build(tmp_path / "tokens", [text], tokenizer)
    file = tmp_path / "teacher"
    vectors = SentenceVectors.build(file, tokens, [text], tokenizer, embedder(tokenizer, 1))
    task = distillation(tokenizer, vectors)
    batches, again = (task.batches(tokens, 4, seed=0) for _ in range(2))
    drawn = set()
    for _ in range(60):
        batch, repeated = next(batches), next(again)
        assert all((batch[name] == repeated[name]).all() for name in batch)
        lengths = batch["sentence_mask"].sum(axis=1)
        assert lengths.max() - lengths.min() <= 6
        assert batch["sentence_ids"].shape[1] <= 20
        assert len({row.tobytes() for row in batch["teacher"]}) > 1
        drawn.add(int(lengths.max()))
    assert len(drawn) > 8  # of all lengths


def test_similarities_come_near_to_those_of_the_teacher(
    tokenizer: Any, vectors: SentenceVectors, tmp_path: Path
) -> None:
    task = distillation(tokenizer, vectors, sentences=24, held_out=vectors)
    with tinybert.manual_seed(0):
        model = tinybert.BertForMaskedLM(
            bert_config(len(tokenizer), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        )
    before = task.evaluate(model, vectors.tokens)
    Trainer(
        model,
        task.batches(vectors.tokens, 8, seed=0),
        TrainingConfig(60, learning_rate=3e-3),
        tmp_path / "run",
        loss=task.loss,
        count=task.count,
    ).train()
    after = task.evaluate(model, vectors.tokens)
    assert set(after) == {"loss", "accuracy", "perplexity", "similarity"}
    assert after["similarity"] > before["similarity"] + 0.1
    assert after["loss"] < before["loss"]


def test_a_teacher_needs_masked_words(tokenizer: Any, vectors: SentenceVectors) -> None:
    with pytest.raises(ValueError, match="a teacher needs the objective 'masked', got 'causal'"):
        SentenceDistillation(LanguageModeling(tokenizer, "causal"), vectors)
