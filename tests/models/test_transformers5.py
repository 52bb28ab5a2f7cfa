"""Files of transformers 5 (5.24.0 wrote the values here): renamed options have their effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.models.nemotron_oracle import TOY, array, exact, one_thread, twins
from tests.models.oracle import TOY as BERT
from tests.models.oracle import as_torch
from tests.support import assert_close
from tests.tolerances import MODEL_FLOAT64
from tinybert import AutoTokenizer, BertConfig, BertForMaskedLM, BertTokenizer, NemotronConfig

IDS = np.random.default_rng(0).integers(1, 23, size=(3, 7))
SIZES = {k: v for k, v in TOY.items() if k != "partial_rotary_factor"} | {"head_dim": 8}
ROPE = {"partial_rotary_factor": 0.75, "rope_theta": 500.0, "rope_type": "default"}


def write(folder: Path, **options: Any) -> None:
    content = {"model_type": "nemotron", **SIZES, "transformers_version": "5.24.0", **options}
    (folder / "config.json").write_text(json.dumps(content))


# --- the rotary embedding of a Nemotron -----------------------------------------------------------


def test_rope_parameters_have_their_effect(tmp_path: Path) -> None:
    write(tmp_path, rope_parameters=ROPE)
    config = tinybert.AutoConfig.from_pretrained(tmp_path)
    assert (config.rope_theta, config.partial_rotary_factor) == (500.0, 0.75)
    assert not hasattr(config, "rope_parameters")
    options = {k: v for k, v in config.to_dict().items() if k in NemotronConfig().to_dict()}
    with one_thread():
        ours, theirs = twins("NemotronForCausalLM", **options)
        plain, _ = twins("NemotronForCausalLM", **options | {"rope_theta": 10000.0})
        with exact():
            expected = array(theirs(as_torch(IDS)).logits)
    assert_close(ours(IDS).logits.numpy(), expected, rtol=MODEL_FLOAT64)
    assert np.abs(plain(IDS).logits.numpy() - expected).max() > 1e-3


def test_what_is_not_in_rope_parameters_has_its_default() -> None:
    assert NemotronConfig(rope_parameters={"rope_theta": 7.0}).partial_rotary_factor == 0.5
    assert NemotronConfig(rope_parameters={}).rope_theta == 10000.0
    assert NemotronConfig(rope_parameters=None) == NemotronConfig()
    both = NemotronConfig(rope_parameters=ROPE, rope_theta=500.0, rope_percent=0.75)
    assert both == NemotronConfig(rope_theta=500.0, partial_rotary_factor=0.75)
    assert NemotronConfig(rope_parameters={"type": "default"}) == NemotronConfig()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rope_theta": 10000.0}, r"rope_theta is 10000.0, but 500.0 in rope_parameters.*Choose"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5, but 0.75 in rope_param"),
        ({"rope_percent": 0.5}, "partial_rotary_factor has several values"),
    ],
)
def test_contradictions_are_refused_and_can_be_decided(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write(tmp_path, rope_parameters=ROPE, **options)
    with pytest.raises(ValueError, match=message):
        NemotronConfig.from_pretrained(tmp_path)
    config = NemotronConfig.from_pretrained(tmp_path, rope_theta=9.0, rope_percentage=0.25)
    assert (config.rope_theta, config.partial_rotary_factor) == (9.0, 0.25)
    replaced = {"rope_theta": 9.0, "partial_rotary_factor": 0.25}
    assert NemotronConfig.from_pretrained(tmp_path, rope_parameters=replaced) == config


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn", "longrope", "llama3", 3])
@pytest.mark.parametrize("name", ["rope_type", "type"])
def test_other_rope_types_are_refused(kind: Any, name: str, tmp_path: Path) -> None:
    write(tmp_path, rope_parameters={"rope_theta": 500.0, name: kind, "factor": 2.0})
    with pytest.raises(ValueError, match=f"rope_type {kind!r} of rope_parameters is not supported"):
        NemotronConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rope_parameters": {**ROPE, "factor": 2.0}}, "rope_parameters has factor; a Nemotron"),
        ({"rope_parameters": {"full_attention": ROPE}}, "rope_parameters has full_attention"),
        ({"rope_parameters": [1]}, r"rope_parameters must be a dict, got \[1\]"),
        (
            {"rope_parameters": ROPE, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            "rope_type 'linear' of rope_scaling is not supported",
        ),
    ],
)
def test_what_a_nemotron_does_not_have(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write(tmp_path, **options)
    with pytest.raises(ValueError, match=message):
        NemotronConfig.from_pretrained(tmp_path)


def test_a_saved_config_says_the_same_in_versions_4_and_5(tmp_path: Path) -> None:
    """Both read rope_theta and partial_rotary_factor at the top; version 5 applies rope_scaling."""
    scaling = {"rope_scaling": {"type": "linear", "factor": 2.0}}
    NemotronConfig(**SIZES, rope_theta=500.0, rope_percent=0.75, **scaling).save_pretrained(
        tmp_path
    )
    saved = json.loads((tmp_path / "config.json").read_text())
    rope = {name: value for name, value in saved.items() if "rope" in name or "rotary" in name}
    assert rope == {"rope_theta": 500.0, "partial_rotary_factor": 0.75}


# --- the dtype of saved weights -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_the_saved_dtype_is_that_of_the_weights(name: str, tmp_path: Path) -> None:
    """Version 5 loads weights in the dtype of the config: with an old one they would be rounded."""
    BertForMaskedLM(BertConfig(**BERT, **{name: "bfloat16"})).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())[name] == "float32"
    model = BertForMaskedLM.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path, dtype="bfloat16")
    assert json.loads((tmp_path / "config.json").read_text())[name] == "bfloat16"
    model.to(np.float16).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())[name] == "float16"


# --- tokenizers -----------------------------------------------------------------------------------

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##c", "hello", "!"]
OPTIONS = {
    "backend": "tokenizers",
    "cls_token": "[CLS]",
    "do_lower_case": True,
    "is_local": True,
    "local_files_only": False,
    "mask_token": "[MASK]",
    "model_max_length": 1000000000000000019884624838656,
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "tokenizer_class": "BertTokenizer",
    "unk_token": "[UNK]",
}


def write_tokenizer(folder: Path, added: list[str], **options: Any) -> None:
    """Write the two files that version 5 writes: there is no vocab.txt."""
    vocab = folder / "vocab.txt"
    vocab.write_text("\n".join(VOCAB) + "\n")
    tokenizer = tinybert.BertTokenizerFast(str(vocab))
    tokenizer.add_special_tokens({"additional_special_tokens": added})
    tokenizer.save_pretrained(folder, legacy_format=False)
    (folder / "special_tokens_map.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps(OPTIONS | options))
    assert {p.name for p in folder.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}


@pytest.mark.parametrize(
    ("options", "special"),
    [
        ({}, []),
        ({"extra_special_tokens": ["<x>", "<y>"]}, ["<x>", "<y>"]),
        ({"extra_special_tokens": {"image_token": "<x>"}}, ["<x>"]),
        (
            {"image_token": "<x>", "model_specific_special_tokens": {"image_token": "<x>"}},
            ["<x>"],
        ),
        ({"extra_special_tokens": ["<x>"], "additional_special_tokens": ["<x>"]}, ["<x>"]),
        ({"extra_special_tokens": [{"content": "<x>", "__type": "AddedToken"}]}, ["<x>"]),
    ],
)
@pytest.mark.parametrize("use_fast", [True, False])
def test_extra_special_tokens(
    options: dict[str, Any], special: list[str], use_fast: bool, tmp_path: Path
) -> None:
    """The ids are those of version 5: a text "a <x> b hello!" is 5, 10, 6, 8, 9 if <x> is one."""
    write_tokenizer(tmp_path, special, **options)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, use_fast=use_fast)
    assert tokenizer.additional_special_tokens == special
    ids = tokenizer("a <x> b hello!")["input_ids"]
    if special:
        assert ids == [2, 5, 10, 6, 8, 9, 3]
        assert tokenizer.decode(ids, skip_special_tokens=True).split() == ["a", "b", "hello!"]
    else:
        assert ids == [2, 5, 1, 1, 1, 6, 8, 9, 3]


def test_a_slow_tokenizer_writes_its_vocabulary(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, [])
    BertTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path / "old")
    assert (tmp_path / "old" / "vocab.txt").read_text().split() == VOCAB
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"vocab_file: there is no file .*vocab\.txt"):
        BertTokenizer.from_pretrained(tmp_path)
