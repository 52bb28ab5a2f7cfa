"""A small tokenizer and corpus for the tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest

import tinybert
from tinybert.tokenizers import save_vocab

SENTENCES = [
    "the cat sat on the mat .", "a dog ran in the park .", "the birds were singing .",
    "it rained on the town .", "she opened the window .", "the cat saw a dog .",
    "he closed the door and sat .", "a bird flew over the park .",
]  # fmt: skip


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tinybert.BertTokenizerFast:
    """WordPiece with 90 tokens: most words have several."""
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    save_vocab(tinybert.train_wordpiece(SENTENCES, 90), path)
    return tinybert.BertTokenizerFast(str(path), model_max_length=64)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six documents of four sentences."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    documents = [[SENTENCES[(i * k + 1) % 8] for i in range(4)] for k in range(1, 7)]
    path.write_text("\n\n".join("\n".join(d) for d in documents) + "\n", encoding="utf-8")
    return path


def bert_config(vocab_size: int, **options: object) -> tinybert.BertConfig:
    """A BERT small enough to train in a test."""
    sizes = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 48, "max_position_embeddings": 64,
    }  # fmt: skip
    return tinybert.BertConfig(vocab_size=vocab_size, **{**sizes, **options})
