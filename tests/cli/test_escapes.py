"""What a model's files contain never controls the terminal, in any command, with --json too."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

import tinybert as tb
from tinybert.weights import load_file, save_file

EVIL = "x\x1b]0;owned\x07\x9b31m\x7f\u202egpj\u2066\x00"
LINE = "\nFAKE: all is well"
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefg.", f"t{EVIL}", "wow"]
LABELS = {0: f"O{EVIL}", 1: f"B-{EVIL}{LINE}", 2: f"I-{EVIL}"}
CLASSES = {
    "fill-mask": tb.BertForMaskedLM,
    "classify": tb.BertForSequenceClassification,
    "tag": tb.BertForTokenClassification,
    "answer": tb.BertForQuestionAnswering,
    "generate": tb.BertLMHeadModel,
}
TEXT = f"a b {EVIL} c wow."
RUNS = [
    *(["fill-mask", "a [MASK] b", *more] for more in ([], ["--json"])),
    *(["classify", TEXT, *more] for more in ([], ["--json"], ["--top-k", 3])),
    *(["tag", TEXT, *more] for more in ([], ["--json"])),
    *(["answer", "a b?", "--context", TEXT, *more] for more in ([], ["--json"])),
    *(["generate", TEXT, "--max-new-tokens", 9, *more] for more in ([], ["--json"])),
    *(["tokenize", TEXT, *more] for more in ([], ["--json"])),
    *(["inspect", *more] for more in ([], ["--json"], ["--values"])),
    *(["diff", *more] for more in ([], ["--json"])),
    *(["convert", *more] for more in ([], ["--json"])),
    ["embed", TEXT, "--json"],
    ["similarity", TEXT, "b"],
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("evil")
    for command, kind in CLASSES.items():
        options = {"id2label": LABELS} if command in ("classify", "tag") else {}
        config = tb.BertConfig(
            vocab_size=len(TOKENS), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=8, is_decoder=command == "generate", **options,
        )  # fmt: skip
        config.note = f"{EVIL}{LINE}"
        kind(config).save_pretrained(root / command)
        (root / command / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
        path = root / command / "model.safetensors"
        tensors = {**load_file(path), f"n{EVIL}{LINE}": np.ones(2, np.float32)}
        save_file(tensors, path, {"format": "pt", f"m{EVIL}": f"{EVIL}{LINE}"})
    return root


def controls(text: str) -> set[str]:
    bidi = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return {
        c for c in text
        if (unicodedata.category(c) == "Cc" and c != "\n") or unicodedata.bidirectional(c) in bidi
    }  # fmt: skip


@pytest.mark.parametrize("command", RUNS, ids=lambda words: " ".join(map(str, words))[:40])
def test_nothing_is_obeyed(command, folders, tinybert, tmp_path) -> None:
    name, *words = command
    folder = folders / (name if name in CLASSES else "fill-mask")
    if name in ("inspect", "diff", "convert"):
        other = {"diff": [folders / "classify"], "convert": [tmp_path / "new"]}.get(name, [])
        ran = tinybert(name, folder, *other, *words)
    else:
        ran = tinybert(name, *words, "--model", folder)
    assert ran.code == (name == "diff"), ran.err
    assert not controls(ran.out + ran.err)
    assert not any(line.strip().startswith("FAKE") for line in (ran.out + ran.err).splitlines())
    if "--json" in words:
        assert json.loads(ran.out)


def test_errors(folders, refused, tmp_path) -> None:
    folder = tmp_path / f"folder{EVIL[:-1]}"
    folder.mkdir()
    config = {"model_type": EVIL, "hidden_size": EVIL}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text(f"{EVIL}\n{EVIL}\n")
    for command in (["fill-mask", "a", "--model"], ["inspect"]):
        assert not controls(refused(*command, folder))
        assert not controls(refused(*command, tmp_path / f"none{EVIL[:-1]}"))
