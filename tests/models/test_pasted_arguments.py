"""Arguments in examples written for transformers: honoured, said to have no effect, or refused."""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tinybert
from tests.fixtures.frameworks import unpack
from tests.models.oracle import TOY, config
from tests.models.test_formats import FIXTURE
from tests.tokenizers.oracle import VOCAB
from tinybert import BertConfig, BertModel, Tensor

IDS = np.array([[1, 2, 3]])


def first_weight(model: Any) -> float:
    return float(model.embeddings.word_embeddings.weight.numpy()[0, 0])


def saved(path: Path, number: float) -> BertModel:
    """A model whose weights are all `number`, saved as safetensors."""
    model = BertModel(config())
    for parameter in model.parameters():
        parameter.data[...] = number
    model.save_pretrained(path)
    return model


@pytest.mark.parametrize(
    "options",
    [{"low_cpu_mem_usage": True}, {"low_cpu_mem_usage": False}, {"attn_implementation": "eager"},
     {"attn_implementation": "sdpa"}, {"attn_implementation": None}, {"from_tf": False},
     {"from_flax": False}, {"use_safetensors": True}, {"use_safetensors": None},
     {"trust_remote_code": False}],
    ids=str,
)  # fmt: skip
def test_what_the_engine_does_anyway_is_accepted_without_a_word(
    options: dict[str, Any], tmp_path: Path, caplog: Any
) -> None:
    model = saved(tmp_path, 0.5)
    caplog.clear()
    loaded = BertModel.from_pretrained(tmp_path, **options)
    assert loaded.config == model.config  # nothing of it is stored
    assert first_weight(loaded) == 0.5
    assert first_weight(tinybert.AutoModel.from_pretrained(tmp_path, **options)) == 0.5
    assert first_weight(BertModel.from_pretrained(tmp_path, config=config(), **options)) == 0.5
    assert not caplog.records


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attn_implementation": "flash_attention_2"}, "'flash_attention_2' has no effect"),
        ({"attn_implementation": "flex_attention"}, "'flex_attention' has no effect"),
        ({"trust_remote_code": True}, "trust_remote_code has no effect: no code"),
    ],
    ids=str,
)
def test_what_has_no_effect_is_said(
    options: dict[str, Any], words: str, tmp_path: Path, caplog: Any
) -> None:
    saved(tmp_path, 0.5)
    caplog.set_level(logging.WARNING, "tinybert")
    BertModel.from_pretrained(tmp_path, **options)
    assert words in caplog.text
    if "attn_implementation" in options:
        caplog.clear()
        made = tinybert.AutoModel.from_config(BertConfig(**TOY), **options)
        assert isinstance(made, BertModel)
        assert words in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"attn_implementation": "fast"}, ValueError, "attn_implementation must be one of None,"),
        ({"low_cpu_mem_usage": "yes"}, ValueError, "low_cpu_mem_usage must be True or False"),
        ({"from_tf": 2}, ValueError, "from_tf must be True or False, got 2"),
        ({"from_tf": True}, FileNotFoundError, r"from_tf=True: .* has none of tf_model\.h5"),
        ({"from_flax": True}, FileNotFoundError, r"from_flax=True: .* none of flax_model\.msgpack"),
        ({"use_safetensors": False}, FileNotFoundError, r"none of pytorch_model\.bin"),
        ({"from_tf": True, "from_flax": True}, ValueError, "from_flax=True and from_tf=True: give"),
        ({"from_tf": True, "use_safetensors": True}, ValueError, "from_tf=True and use_safetens"),
    ],
    ids=str,
)
def test_what_cannot_be_honoured_is_refused(
    options: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    saved(tmp_path, 0.5)
    with pytest.raises(error, match=words):
        BertModel.from_pretrained(tmp_path, **options)
    with pytest.raises(ValueError, match="attn_implementation must be one of None"):
        tinybert.AutoModel.from_config(BertConfig(**TOY), attn_implementation="fast")


def test_the_files_that_an_argument_names_are_read(tmp_path: Path) -> None:
    """A folder may hold the weights of several frameworks; by default safetensors are read."""
    tf, flax = (
        unpack(f"{name}.zip", tmp_path / name) / "BertModel" for name in ("tensorflow", "flax")
    )
    expected = {
        "from_tf": first_weight(BertModel.from_pretrained(tf, config=FIXTURE)),
        "from_flax": first_weight(BertModel.from_pretrained(flax, config=FIXTURE)),
    }
    both = BertModel.from_pretrained(flax, config=FIXTURE)
    for parameter in both.parameters():
        parameter.data[...] = 0.5
    both.save_pretrained(tmp_path)
    torch.save(
        {k: torch.full(t.shape, 0.25) for k, t in both.state_dict().items()},
        tmp_path / "pytorch_model.bin",
    )
    shutil.copy(tf / "tf_model.h5", tmp_path)
    shutil.copy(flax / "flax_model.msgpack", tmp_path)
    assert first_weight(BertModel.from_pretrained(tmp_path)) == 0.5
    assert first_weight(BertModel.from_pretrained(tmp_path, use_safetensors=False)) == 0.25
    for name, number in expected.items():
        assert number not in (0.5, 0.25)
        found = BertModel.from_pretrained(tmp_path, **{name: True})
        assert first_weight(found) == number
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"use_safetensors=True: .*model\.saf"):
        BertModel.from_pretrained(tmp_path, use_safetensors=True)
    # a file is read as what it is
    named = BertModel.from_pretrained(tmp_path / "tf_model.h5", from_tf=True)
    assert first_weight(named) == expected["from_tf"]


# --- constructors and calls -----------------------------------------------------------------------


def test_the_binary_head_of_megatron(tmp_path: Path) -> None:
    family = tinybert.MegatronBertForPreTraining
    made = config("MegatronBert")
    names = list(family(made).state_dict())
    assert list(family(made, add_binary_head=True).state_dict()) == names
    assert list(family(made, True).state_dict()) == names
    family(made).save_pretrained(tmp_path)
    family.from_pretrained(tmp_path, add_binary_head=True)
    for wrong in (False, np.bool_(False)):
        with pytest.raises(ValueError, match=r"add_binary_head must be True.*MaskedLM"):
            family(made, add_binary_head=wrong)
    with pytest.raises(ValueError, match="add_binary_head must be True or False"):
        family(made, add_binary_head="no")


@pytest.mark.parametrize("family", ["Bert", "MegatronBert"])
def test_the_old_name_of_the_labels_of_the_next_sentence(family: str) -> None:
    model = getattr(tinybert, f"{family}ForNextSentencePrediction")(config(family)).eval()
    expected = model(IDS, labels=[1]).loss.item()
    with pytest.warns(FutureWarning, match="next_sentence_label is the old name of labels") as seen:
        assert model(IDS, next_sentence_label=[1]).loss.item() == expected
    assert seen[0].filename == __file__  # it points to the call
    with pytest.raises(ValueError, match="give one of them"):
        model(IDS, labels=[1], next_sentence_label=[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(IDS, next_sentence_label=None)


@pytest.mark.parametrize("name", ["BertTokenizer", "BertTokenizerFast"])
@pytest.mark.parametrize("kind", ["tb", "pt", "tf", "jax"])
def test_tensors_of_other_frameworks_are_this_ones(name: str, kind: str) -> None:
    tokenizer = getattr(tinybert, name)(VOCAB)
    batch = tokenizer(["the", "of the"], padding=True, return_tensors=kind)
    assert all(type(value) is Tensor for value in batch.values())
    expected = tokenizer(["the", "of the"], padding=True, return_tensors="np")
    assert all((batch[key].numpy() == expected[key]).all() for key in expected)
    assert type(tokenizer.encode("the", return_tensors=kind)) is Tensor


def test_the_tensors_of_a_framework_can_be_registered(monkeypatch: Any) -> None:
    monkeypatch.setitem(tinybert.checks.TENSOR_TYPES, "pt", None)
    tinybert.register_tensor_type("pt", torch.from_numpy)
    batch = tinybert.BertTokenizer(VOCAB)("the", return_tensors="pt")
    assert torch.is_tensor(batch["input_ids"])
