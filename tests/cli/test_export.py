"""`tinybert export`: a file for onnxruntime, with the files of its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.export.onnx_oracle import largest_difference, session_of, small_model
from tinybert.cli.main import main

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "mat"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model of a classifier with its tokenizer."""
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = tinybert.BertTokenizer(tmp_path / "vocab.txt")
    for path in (tmp_path / "model", tmp_path / "sentences"):
        model = small_model("BertForSequenceClassification", vocab_size=10)
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
    encoder = tinybert.SentenceEmbedder(tokenizer, model.bert)
    encoder.save_pretrained(tmp_path / "sentences")
    return tmp_path


def test_the_file_and_its_companions(folder: Path, capsys: Any) -> None:
    file = folder / "onnx" / "model.onnx"
    assert main(["export", str(folder / "model"), str(file)]) == 0
    printed = capsys.readouterr().out
    assert "BertForSequenceClassification" in printed
    assert "outputs  logits" in printed
    copied = tinybert.AutoTokenizer.from_pretrained(file.parent)
    rows = copied(["the cat", "the cat sat on the mat"], padding=True, return_tensors="np")
    model = tinybert.AutoModelForSequenceClassification.from_pretrained(folder / "model")
    values = {name: np.asarray(array) for name, array in rows.items()}
    assert largest_difference(model, session_of(file), values) < 1e-5


def test_the_class_of_the_model(folder: Path, capsys: Any) -> None:
    for number, (source, options, expected) in enumerate(
        [
            ("sentences", [], "BertModel"),
            ("model", ["--class", "BertModel"], "BertModel"),
            ("model", [], "BertForSequenceClassification"),
        ]
    ):
        target = folder / str(number) / "model.onnx"
        arguments = ["export", str(folder / source), str(target), "--json", *options]
        assert main(arguments) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["class"] == expected
        assert shown["opset"] == 17


def test_the_config_names_the_class(folder: Path, capsys: Any) -> None:
    target = folder / "onnx"
    assert main(["export", str(folder / "sentences"), str(target / "model.onnx")]) == 0
    assert json.loads((target / "config.json").read_text("utf-8"))["architectures"] == ["BertModel"]
    capsys.readouterr()
    assert main(["convert", str(target / "model.onnx"), str(folder / "back")]) == 0
    printed = capsys.readouterr().out
    assert "all weights of BertModel were found" in printed
    assert "verified: " in printed


def test_an_adapter_brings_the_tokenizer_of_its_base(folder: Path, capsys: Any) -> None:
    base, head, target = folder / "sentences", folder / "head", folder / "onnx"
    model = tinybert.BertForSequenceClassification.from_pretrained(base)
    lora = tinybert.LoraConfig(r=2, modules_to_save=["classifier"])
    tinybert.add_adapters(model, lora)
    model.save_pretrained(head)
    assert not (head / "vocab.txt").exists()
    assert main(["export", str(head), str(target / "model.onnx")]) == 0
    assert "BertForSequenceClassification" in capsys.readouterr().out
    assert (target / "vocab.txt").read_bytes() == (base / "vocab.txt").read_bytes()
    assert not (target / "modules.json").exists()  # it describes the base, without the head


def test_nothing_is_replaced_unless_asked(folder: Path, capsys: Any) -> None:
    arguments = ["export", str(folder / "model"), str(folder / "new" / "model.onnx")]
    assert main(arguments) == 0
    assert main(arguments) == 2
    assert "use --force to replace it" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0
    assert main([*arguments[:2], str(folder)]) == 2
    assert "is a folder: give a FILE in it" in capsys.readouterr().err
    within = ["export", str(folder / "model"), str(folder / "model" / "model.onnx")]
    assert main(within) == 0  # next to the files that it would copy


def test_a_class_that_does_not_exist(folder: Path, capsys: Any) -> None:
    arguments = ["export", str(folder / "model"), str(folder / "x.onnx"), "--class", "BertConfig"]
    assert main(arguments) == 2
    assert "--class BertConfig: there is no such model class" in capsys.readouterr().err
