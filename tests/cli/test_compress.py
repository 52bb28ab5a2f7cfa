"""prune and distill: from a model and a text to a smaller model that answers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compress.small_models import make_config, make_model
from tinybert import (
    AutoTokenizer,
    BertForMaskedLM,
    BertLMHeadModel,
    BertModel,
    load_checkpoint,
)
from tinybert.tokenizers import BertTokenizerFast, save_vocab
from tinybert.weights import load_file

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SENTENCE = "the cat sat on a mat dog ran in park . it she he saw bird"
SIZES = ("--layers", 2, "--hidden", 6, "--heads", 2, "--intermediate", 7)
SHORT = ("--length", 16, "--samples", 20)
RUN = ("--length", 16, "--batch-size", 8, "--steps", 4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and three models: a BERT, a Nemotron and a MEGA."""
    folder, rng = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    words = SENTENCE.split()
    lines = [" ".join(rng.choice(words, rng.integers(3, 12))) for _ in range(60)]
    (folder / "a.txt").write_text("\n\n".join(lines))
    tokens = [*SPECIAL, *words]
    save_vocab([*tokens, *(f"[unused{i}]" for i in range(23 - len(tokens)))], folder / "vocab.txt")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=16)
    for family in ("bert", "nemotron", "mega"):
        make_model(family).to(np.float32).save_pretrained(folder / family)
        tokenizer.save_pretrained(folder / family)
    return folder


@pytest.fixture
def pruned(tinybert: Any, made: Path, tmp_path: Path) -> Path:
    output = tmp_path / "small"
    ran = tinybert(
        "prune", made / "bert", "--output", output, "--text", made / "a.txt", *SIZES, *SHORT
    )
    assert ran.code == 0, ran.err
    assert ran.out.startswith("BertForMaskedLM: ")
    assert "hidden 6 of 12" in ran.out
    assert re.search(r"layers 2 of 3: \d, \d\n", ran.out)
    return output


def test_a_pruned_model_is_distilled_and_fills_masks(
    tinybert: Any, made: Path, pruned: Path, tmp_path: Path
) -> None:
    output = tmp_path / "distilled"
    words = ("distill", made / "bert", pruned, made / "a.txt", "--validation", made / "a.txt")
    options = ("--hidden", 1, "--temperature", 2, "--save-every", 2, *RUN)
    ran = tinybert(*words, *options, "--output", output, "--json")
    assert ran.code == 0, ran.err
    assert set(json.loads(ran.out)["metrics"]) == {"loss", "accuracy", "perplexity"}
    saved = json.loads((output / "run.json").read_text())
    assert (saved["teacher"], saved["hidden"], saved["temperature"]) == (str(made / "bert"), 1, 2)
    assert (output / "loss.png").exists()
    filled = tinybert("fill-mask", "the [MASK] sat .", "--model", output, "--json")
    assert json.loads(filled.out)
    again = tinybert("distill", "--config", output / "run.json", "--output", tmp_path / "again")
    assert again.code == 0, again.err
    ours, theirs = load_checkpoint(output), load_checkpoint(tmp_path / "again")
    assert all((ours[name] == theirs[name]).all() for name in ours)
    resumed = tinybert("distill", "--resume", "--output", output)
    assert "resumed after step 4 of 4" in resumed.err


def test_a_run_that_was_interrupted_ends_with_the_same_weights(
    tinybert: Any, made: Path, pruned: Path, tmp_path: Path
) -> None:
    """The projection of the hidden states is in the checkpoints, not in the model."""
    words = ("distill", made / "bert", pruned, made / "a.txt", *RUN, "--save-every", 2)
    options = ("--hidden", 1, "--pairs", "3:2", "--embeddings", 0.5, "--labels", 0.1)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    ran = tinybert(*words, *options, "--output", whole)
    assert ran.code == 0, ran.err
    assert json.loads((whole / "run.json").read_text())["pairs"] == "3:2"
    shutil.copytree(whole, stopped)
    shutil.rmtree(stopped / "checkpoint-00000004")
    (stopped / "model.safetensors").unlink()
    resumed = tinybert("distill", "--resume", "--output", stopped)
    assert "resumed after step 2 of 4" in resumed.err
    for name in ("model.safetensors", "checkpoint-00000004/extra.safetensors"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
    ours, theirs = load_checkpoint(whole), load_checkpoint(pruned)
    assert ours.keys() == theirs.keys()
    projection = load_file(stopped / "checkpoint-00000004" / "extra.safetensors")
    assert [x.shape for x in projection.values()] == [(12, 6)]


def test_what_was_kept_as_json(tinybert: Any, made: Path, tmp_path: Path) -> None:
    words = ("prune", made / "bert", "--text", made / "a.txt", *SHORT, "--layers", 2)
    found = {}
    for by in ("angle", "perplexity"):
        ran = tinybert(*words, "--output", tmp_path / by, "--layers-by", by, "--json")
        assert ran.code == 0, ran.err
        found[by] = json.loads(ran.out)
        assert found[by]["texts"] == 32  # two batches
        scores = found[by]["importance_of_layers"]
        assert found[by]["layers"] == sorted(np.argsort(scores)[-2:].tolist())
    assert max(found["angle"]["importance_of_layers"]) < 2 < 10
    assert min(found["perplexity"]["importance_of_layers"]) > 5
    small = BertForMaskedLM.from_pretrained(tmp_path / "angle")
    assert small.num_parameters() == found["angle"]["parameters"]
    assert found["angle"]["sizes"] == {"layers": 2, "hidden": 12, "heads": 4, "intermediate": 10}
    assert AutoTokenizer.from_pretrained(tmp_path / "angle").vocab_size == 23


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("bert", ("--hidden", 6)),  # the number of heads follows
        ("nemotron", ("--heads", 4, "--groups", 2, "--hidden", 8)),
        ("mega", ("--hidden", 8, "--intermediate", 4, "--nffn", 5)),
    ],
)
def test_other_sizes_and_families(
    tinybert: Any, made: Path, tmp_path: Path, family: str, sizes: tuple
) -> None:
    text, small = made / "a.txt", tmp_path / "small"
    ran = tinybert("prune", made / family, "--output", small, "--text", text, *sizes, *SHORT)
    assert ran.code == 0, ran.err
    if family == "bert":
        assert "heads 2 of 4" in ran.out
        return
    ran = tinybert("distill", made / family, small, text, *RUN, "--output", tmp_path / "out")
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("names", ["BertForMaskedLM", ["add_adapters"], [7], ["MegaModel"]])
def test_an_unknown_class_is_refused(refused: Any, made: Path, tmp_path: Path, names: Any) -> None:
    folder = shutil.copytree(made / "bert", tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": names}))
    words = ("prune", folder, "--output", tmp_path / "out", "--text", made / "a.txt")
    error = refused(*words, "--layers", 1)
    assert "architectures must be a list of one of BertForMaskedLM, " in error
    assert ", BertLMHeadModel, " in error


def test_a_model_without_a_head_has_no_perplexity(refused: Any, made: Path, tmp_path: Path) -> None:
    """It is refused before the text is read."""
    BertModel(make_config("bert")).save_pretrained(tmp_path / "bare")
    AutoTokenizer.from_pretrained(made / "bert").save_pretrained(tmp_path / "bare")
    words = ("prune", tmp_path / "bare", "--output", tmp_path / "out", "--text", tmp_path / "none")
    message = "--layers-by perplexity needs a language model, got BertModel"
    assert message in refused(*words, "--layers", 1, "--layers-by", "perplexity")


def test_a_decoder_is_distilled_as_a_causal_model(
    tinybert: Any, made: Path, tmp_path: Path
) -> None:
    decoder = make_model("bert", kind=BertLMHeadModel, is_decoder=True).to(np.float32)
    decoder.save_pretrained(tmp_path / "large")
    AutoTokenizer.from_pretrained(made / "bert").save_pretrained(tmp_path / "large")
    text, small, output = made / "a.txt", tmp_path / "small", tmp_path / "distilled"
    words = ("prune", tmp_path / "large", "--output", small, "--text", text, *SIZES, *SHORT)
    ran = tinybert(*words)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("BertLMHeadModel: ")
    words = ("distill", tmp_path / "large", small, text, "--validation", text, *RUN)
    ran = tinybert(*words, "--output", output)
    assert ran.code == 0, ran.err
    assert "bits per character" in ran.out


FAULTS = {
    "no size": (["prune", "bert", "--text", "a.txt"], "give the size to cut to: --layers"),
    "heads": (
        ["prune", "bert", "--text", "a.txt", "--hidden", "6", "--heads", "3"],
        "--heads must be 2 with --hidden 6",
    ),
    "hidden": (
        ["prune", "bert", "--text", "a.txt", "--hidden", "7"],
        "--hidden must be a multiple of 3, the size of the model's heads, for example 6 or 9",
    ),
    "too large": (
        ["prune", "bert", "--text", "a.txt", "--layers", "4"],
        "--layers must be at most 3, that of the model, got 4",
    ),
    "not of MEGA": (
        ["prune", "mega", "--text", "a.txt", "--heads", "1"],
        "--heads does not exist in mega; it has --layers, --hidden, --intermediate, --nffn",
    ),
    "samples": (
        ["prune", "bert", "--text", "a.txt", "--layers", "1", "--samples", "0"],
        "--samples must be",
    ),
    "a model already": (
        ["prune", "bert", "--text", "a.txt", "--layers", "1", "--output", "mega"],
        "mega has a model already",
    ),
    "no student": (["distill", "bert"], "STUDENT is required"),
    "no text": (["distill", "bert", "bert"], "TEXT is required"),
    "no part": (["distill", "bert", "bert", "a.txt", "--logits", "0"], "one of the weights"),
    "pairs": (
        ["distill", "bert", "bert", "a.txt", "--hidden", "1", "--pairs", "3-2"],
        "--pairs must be TEACHER:STUDENT layers such as 4:2,6:3, got '3-2'",
    ),
    "pairs alone": (
        ["distill", "bert", "bert", "a.txt", "--pairs", "1:1"], "--pairs needs --hidden X"
    ),
    "layers": (
        ["distill", "bert", "bert", "a.txt", "--hidden", "1", "--pairs", "1:1,3:4"],
        "from 0:0 to 3:3, got 3:4",
    ),
    "temperature": (
        ["distill", "bert", "bert", "a.txt", "--temperature", "0"], "temperature must be above 0"
    ),
    "objective": (
        ["distill", "bert", "bert", "a.txt", "--objective", "causal"], "needs a decoder"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_the_flag(
    refused: Any, made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    words, message = FAULTS[name]
    monkeypatch.chdir(made)
    output = [] if "--output" in words else ["--output", str(tmp_path / "out")]
    assert message in refused(*words, *output)
    assert not (tmp_path / "out" / "config.json").exists()


def test_other_tokens_are_refused(refused: Any, made: Path, tmp_path: Path) -> None:
    vocab = (made / "vocab.txt").read_text().splitlines()
    save_vocab([*vocab[:5], *reversed(vocab[5:])], tmp_path / "vocab.txt")
    make_model("bert").save_pretrained(tmp_path / "other")
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "other")
    words = ("distill", made / "bert", tmp_path / "other", made / "a.txt")
    assert "TEACHER and STUDENT must have the same tokens" in refused(
        *words, "--output", tmp_path / "x"
    )
