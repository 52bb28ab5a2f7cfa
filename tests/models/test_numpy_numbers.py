"""Numbers of NumPy are numbers: in configs, in calls that change a model, in generation and
tokenizers. What is kept of them is Python's own, so that JSON can store it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.models import mega_oracle, nemotron_oracle, oracle
from tinybert import BertConfig, BertLMHeadModel, BertModel, GenerationConfig

VOCAB = str(Path(__file__).parents[1] / "tokenizers" / "vocab.txt")
FAMILIES = {
    "Bert": oracle.TOY,
    "MegatronBert": oracle.TOY,
    "Mega": mega_oracle.TOY,
    "Nemotron": nemotron_oracle.TOY,
}


def is_plain(value: Any) -> bool:
    """Whether a value and all its members are of Python's own types."""
    if isinstance(value, dict):
        return all(map(is_plain, value)) and all(map(is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return type(value).__module__ == "builtins"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_of_numpys_numbers(family: str, tmp_path: Path) -> None:
    labels = np.array([0, 2, 1])
    plain = {**FAMILIES[family], "eos_token_id": [2, 5], "pad_token_id": 1}
    numbers = {
        name: np.array(v)[()] if isinstance(v, (int, float)) else np.array(v)
        for name, v in plain.items()
    }
    config = getattr(tinybert, f"{family}Config")(**numbers, num_labels=labels.max() + 1)
    same = getattr(tinybert, f"{family}Config")(**plain, num_labels=3)
    assert is_plain(vars(config))
    assert config.to_json_string() == same.to_json_string()
    model = getattr(tinybert, f"{family}ForSequenceClassification")(config)
    model.save_pretrained(tmp_path)
    assert type(model).from_pretrained(tmp_path).config == config
    config.num_labels = np.uint8(4)
    config.hidden_dropout_prob = np.float64(0.25)
    assert (config.num_labels, config.hidden_dropout_prob) == (4, 0.25)
    assert is_plain(vars(config))


def test_dicts_with_numpys_keys_and_values() -> None:
    names, numbers = np.unique(["no", "yes"]), np.arange(2)
    config = BertConfig(
        **oracle.TOY,
        id2label=dict(zip(numbers, names, strict=True)),
        label2id=dict(zip(names, numbers, strict=True)),
        class_weights={np.int64(0): np.float32(0.5)},
        scales=np.ones(2),
    )
    assert is_plain(vars(config))
    saved = json.loads(config.to_json_string())
    assert saved["id2label"] == {"0": "no", "1": "yes"}
    assert saved["label2id"] == {"no": 0, "yes": 1}
    assert (saved["class_weights"], saved["scales"]) == ({"0": 0.5}, [1.0, 1.0])
    classes = np.unique([7, 9])  # labels that are numbers themselves
    config = BertConfig(id2label=dict(enumerate(classes)), label2id=dict.fromkeys(classes, 0))
    assert json.loads(config.to_json_string())["id2label"] == {"0": 7, "1": 9}


@pytest.mark.parametrize(
    "heads",
    [{np.int64(0): np.array([1, 2])}, {np.uint8(0): [np.int32(2), np.int64(1)]}, {0: {1, 2}},
     {"0": range(1, 3)}],
    ids=["array", "numbers", "set", "text"],
)  # fmt: skip
def test_heads_are_pruned_by_any_integer(heads: Any, tmp_path: Path) -> None:
    config = BertConfig(**oracle.TOY)
    for model in (BertModel(config), BertModel(BertConfig(**oracle.TOY, pruned_heads=heads))):
        model.prune_heads(heads)
        assert model.config.pruned_heads == {0: [1, 2]}
        assert is_plain(model.config.pruned_heads)
        model.save_pretrained(tmp_path)
        assert BertModel.from_pretrained(tmp_path).config.pruned_heads == {0: [1, 2]}


@pytest.mark.parametrize("heads", [{0: [1.0]}, {0: ["1"]}, {0: [True]}, {0: 1}, {"a": [1]}, [0]])
def test_heads_that_are_no_integers_are_refused_by_name(heads: Any) -> None:
    model = BertModel(BertConfig(**oracle.TOY))
    with pytest.raises(ValueError, match="heads_to_prune must be a dict"):
        model.prune_heads(heads)
    with pytest.raises(ValueError, match=r"(heads_to_prune|pruned_heads) must be a dict"):
        BertModel(BertConfig(**oracle.TOY, pruned_heads=heads))
    assert model.config.pruned_heads == {}


GENERATION: dict[str, Any] = {
    "max_new_tokens": 3, "eos_token_id": [3, 4], "pad_token_id": 0, "bad_words_ids": [[5], [6]],
    "suppress_tokens": [7, 8], "repetition_penalty": 1.5, "no_repeat_ngram_size": 2,
    "num_beams": 2, "length_penalty": 0.5, "early_stopping": True,
}  # fmt: skip


@pytest.mark.parametrize("name", GENERATION)
def test_options_of_generation(name: str, tmp_path: Path) -> None:
    model = BertLMHeadModel(BertConfig(**oracle.TOY, is_decoder=True)).eval()
    value = GENERATION[name]
    given = np.array(value)[()] if np.ndim(value) == 0 else np.array(value)
    plain = {"max_new_tokens": 4, name: value}
    ids = np.array([[1, 2]])
    expected = model.generate(ids, **plain).tolist()
    assert model.generate(ids, **{**plain, name: given}).tolist() == expected
    for config in (GenerationConfig(**{name: given}), GenerationConfig()):
        setattr(config, name, given)
        assert is_plain(vars(config))
        config.save_pretrained(tmp_path)
        assert GenerationConfig.from_pretrained(tmp_path) == GenerationConfig(**{name: value})


def test_logits_to_keep_counts_from_the_end() -> None:
    model = BertLMHeadModel(BertConfig(**oracle.TOY, is_decoder=True)).eval()
    ids = np.array([[1, 2, 3]])
    for number in (np.int64(2), np.uint8(2)):
        found = model(ids, logits_to_keep=number).logits.numpy()
        assert (found == model(ids, logits_to_keep=2).logits.numpy()).all()
    assert model(ids, logits_to_keep=np.int64(0)).logits.shape == (1, 3, 23)


def test_the_size_of_a_vocabulary() -> None:
    model = BertLMHeadModel(BertConfig(**oracle.TOY, is_decoder=True))
    model.resize_token_embeddings(np.int64(30), pad_to_multiple_of=np.uint8(8))
    assert type(model.config.vocab_size) is int
    assert model.config.vocab_size == 32


@pytest.mark.parametrize("name", ["BertTokenizer", "BertTokenizerFast"])
def test_options_of_tokenizers(name: str, tmp_path: Path) -> None:
    family = getattr(tinybert, name)
    ours = family(VOCAB, model_max_length=np.int64(7))
    texts = ["the of and", "the"]
    counts = {"max_length": 6, "pad_to_multiple_of": 3, "stride": 1}
    plain = {"padding": "max_length", "truncation": True, **counts}
    expected = ours(texts, **plain)["input_ids"]
    assert ours(texts, **{**plain, **{k: np.int64(v) for k, v in counts.items()}})["input_ids"] == (
        expected
    )
    ids = ours(texts[0])["input_ids"]
    for row in (np.array(ids), [np.int64(i) for i in ids]):
        assert ours.decode(row) == ours.decode(ids)
        assert ours.convert_ids_to_tokens(row) == ours.convert_ids_to_tokens(ids)
    ours.save_pretrained(tmp_path)
    assert family.from_pretrained(tmp_path).model_max_length == 7
