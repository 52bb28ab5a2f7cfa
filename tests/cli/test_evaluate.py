"""`tinybert evaluate`: the metrics of a trained model, and its answers."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tinybert as tb
from tests.training.conftest import SENTENCES, bert_config
from tinybert.cli import card_scores, evaluate
from tinybert.cli.card_scores import is_same
from tinybert.embedded.card import Answer, Example
from tinybert.tokenizers import save_vocab
from tinybert.training import TASKS

LINES = [f"{text},{'cat' if 'cat' in text else 'none'}" for text in SENTENCES]
DATA = "\n".join(["review,kind", *LINES]) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts, and language models of random weights: masked, and causal."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "a.txt").write_text("\n".join(SENTENCES * 4) + "\n")
    (folder / "data.csv").write_text(DATA)
    save_vocab(tb.train_wordpiece(SENTENCES, 90), folder / "vocab.txt")
    tokenizer = tb.BertTokenizerFast(str(folder / "vocab.txt"))
    with tb.manual_seed(0):
        config = bert_config(len(tokenizer), initializer_range=0.4)
        models = {"masked": tb.BertForMaskedLM(config)}
        decoder = bert_config(len(tokenizer), initializer_range=0.4, is_decoder=True)
        models["causal"] = tb.BertLMHeadModel(decoder)
    for name, model in models.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


@pytest.fixture
def classifier(folder: Path, tinybert: Any, tmp_path: Path) -> Path:
    ran = tinybert(
        "finetune", "classification", "--train", folder / "data.csv", "--validation",
        folder / "data.csv", "--column", "text=review", "--column", "label=kind", "--model",
        folder / "masked", "--output", tmp_path / "classifier", "--steps", 2, "--length", 24,
        "--batch-size", 4, "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    (tmp_path / "metrics.json").write_text(ran.out)
    return tmp_path / "classifier"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_it_measures_what_finetune_measured(
    tinybert: Any, folder: Path, classifier: Path, tmp_path: Path
) -> None:
    """Columns, length and labels come from the run that made the model."""
    answers = tmp_path / "answers.jsonl"
    ran = tinybert(
        "evaluate", "classification", classifier, folder / "data.csv", "--predictions", answers,
        "--batch-size", 3, "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    shown = json.loads(ran.out)
    before = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert shown["metrics"] == pytest.approx(before, rel=1e-5)
    assert shown["examples"] == len(SENTENCES)
    rows = read(answers)
    assert [row["text"] for row in rows] == SENTENCES
    assert [row["label"] for row in rows] == [line.rpartition(",")[2] for line in LINES]
    right = [row["label"] == row["prediction"] for row in rows]
    assert shown["metrics"]["accuracy"] == np.mean(right)
    pipeline = tb.pipeline("text-classification", classifier)
    for row, answer in zip(rows, pipeline(SENTENCES), strict=True):
        assert row["prediction"] == answer["label"]
        assert row["score"] == pytest.approx(answer["score"], abs=2e-6)
    chosen = sum(row["prediction"] == "cat" for row in rows)
    hits = sum(row["prediction"] == row["label"] == "cat" for row in rows)
    assert shown["classes"]["cat"]["precision"] == (hits / chosen if chosen else 0)
    assert shown["classes"]["cat"]["count"] == sum("cat" in text for text in SENTENCES)


def test_the_table(tinybert: Any, folder: Path, classifier: Path) -> None:
    ran = tinybert("evaluate", "classification", classifier, folder / "data.csv")
    lines = [line.split() for line in ran.out.splitlines()]
    assert [line[0] for line in lines if line] == [
        "examples", "loss", "accuracy", "f1", "class", "cat", "none"
    ]  # fmt: skip
    assert ran.err.startswith(f"{folder / 'data.csv'}: 8 rows\n")


def test_masked_words_are_the_same_each_time(tinybert: Any, folder: Path, tmp_path: Path) -> None:
    command = ("evaluate", "masked", folder / "masked", folder / "a.txt", "--length", 24, "--json")
    once, again = (
        json.loads(tinybert(*command, "--predictions", tmp_path / f"{i}.jsonl").out) for i in (1, 2)
    )
    assert once == again
    rows = read(tmp_path / "1.jsonl")
    assert rows == read(tmp_path / "2.jsonl")
    assert len(rows) == once["windows"]
    labels = [len(row["label"]) for row in rows]
    assert sum(labels) == once["predicted_tokens"]
    loss = np.average([row["loss"] for row in rows], weights=labels)
    assert once["metrics"]["loss"] == pytest.approx(loss, rel=1e-5)
    assert once["metrics"]["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    hits = [a == b for row in rows for a, b in zip(row["label"], row["prediction"], strict=True)]
    assert once["metrics"]["accuracy"] == pytest.approx(np.mean(hits))
    more = json.loads(tinybert(*command, "--mask-share", "0.6", "--plain-masks").out)
    assert more["predicted_tokens"] > 2 * once["predicted_tokens"]


def test_the_loss_of_a_causal_model_is_that_of_transformers(tinybert: Any, folder: Path) -> None:
    """Windows of 10 tokens over the whole text; the last one is shorter."""
    ran = tinybert(
        "evaluate", "causal", folder / "causal", folder / "a.txt", "--length", 10, "--json"
    )
    shown = json.loads(ran.out)
    tokenizer = tb.AutoTokenizer.from_pretrained(folder / "causal")
    ids = tokenizer(" ".join(SENTENCES * 4), add_special_tokens=False)["input_ids"]
    assert len(ids) % 10 > 1
    model = transformers.BertLMHeadModel.from_pretrained(folder / "causal").eval()
    total = count = hits = 0.0
    for start in range(0, len(ids), 10):
        window = torch.tensor([ids[start : start + 10]])
        with torch.no_grad():
            output = model(window, labels=window)
        size = window.shape[1] - 1
        total, count = total + float(output.loss) * size, count + size
        hits += float((output.logits[0, :-1].argmax(-1) == window[0, 1:]).sum())
    assert shown["predicted_tokens"] == count
    assert shown["windows"] == math.ceil(len(ids) / 10)
    assert shown["metrics"]["loss"] == pytest.approx(total / count, rel=1e-5)
    assert shown["metrics"]["accuracy"] == pytest.approx(hits / count)
    text = "".join(tokenizer.decode(ids[i + 1 : i + 10]) for i in range(0, len(ids), 10))
    bits = total / math.log(2) / len(text)
    assert shown["metrics"]["bits_per_character"] == pytest.approx(bits, rel=1e-5)


def test_what_is_refused(tinybert: Any, refused: Any, folder: Path, classifier: Path) -> None:
    (folder / "other.csv").write_text("review,kind\na cat,dog\n")
    command = ("evaluate", "classification", classifier, folder / "other.csv")
    assert "other.csv: row 1: label must be one of 'cat', 'none', got 'dog'" in refused(*command)
    assert "was trained for classification" in refused("evaluate", "tagging", *command[2:])
    assert "must end in .jsonl" in refused(*command, "--predictions", "a.csv")
    wrong = tinybert("evaluate", "causal", folder / "masked", folder / "a.txt")
    assert "'causal' needs a decoder" in wrong.err
    (folder / "bits.csv").write_text("text,label\na cat,0\na dog,1\n")
    bits = ("evaluate", "classification", folder / "masked", folder / "bits.csv")
    ran = tinybert(*bits)
    assert ran.code == 2
    assert "has no trained weights for classification" in ran.err
    assert tinybert(*bits, "--untrained").code == 0


def test_an_answer_file_is_complete_or_absent(
    tinybert: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text("old\n")
    convert, calls = tb.BertTokenizerFast.convert_ids_to_tokens, iter(range(100))

    def broken(self: Any, *arguments: Any, **options: Any) -> Any:
        if next(calls) == 3:
            raise OSError(28, "No space left on device")
        return convert(self, *arguments, **options)

    monkeypatch.setattr(tb.BertTokenizerFast, "convert_ids_to_tokens", broken)
    ran = tinybert(
        "evaluate", "masked", folder / "masked", folder / "a.txt", "--length", 24, "--predictions",
        path,
    )  # fmt: skip
    assert ran.code == 2
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("command", ["finetune", "evaluate"])
def test_help_has_a_line_for_each_task(tinybert: Any, command: str) -> None:
    lines = [
        line.split()[0].rstrip(",") for line in tinybert(command, "--help").out.split("\n") if line
    ]
    assert {*TASKS, "masked"} <= set(lines)


# --- the card of a model -------------------------------------------------------------------------


@pytest.fixture
def carded(folder: Path, tinybert: Any, tmp_path: Path) -> Path:
    """A masked model of random weights with a card of its own values; and held-out texts."""
    model, held_out = tmp_path / "model", tmp_path / "held-out"
    shutil.copytree(folder / "masked", model)
    held_out.mkdir()
    shutil.copy(folder / "a.txt", held_out)
    command = "tinybert evaluate masked tiny a.txt --length 24"
    ran = tinybert("evaluate", "masked", model, held_out / "a.txt", "--length", 24, "--json")
    metrics = json.loads(ran.out)["metrics"]
    best = tb.pipeline("fill-mask", model)("a [MASK]", top_k=2)
    card = json.loads((tb.hub.resolve("embedded") / "card.json").read_text("utf-8"))
    whole = {"spread": None, "seeds": 1, "baseline": None, "command": command}
    card |= {
        "name": "tiny",
        "data": [{"file": "a.txt", "about": "", "made_by": "make.py", "sha256": hashlib.sha256(
            (held_out / "a.txt").read_bytes()).hexdigest()}],
        "scores": [
            {"figure": "share", "metric": "accuracy", "unit": "%", "decimals": 1,
             "value": round(100 * metrics["accuracy"], 1), **whole},
            {"figure": "loss", "metric": "loss", "decimals": 3,
             "value": round(metrics["loss"], 3), **whole},
        ],
        "examples": {"about": "", "prompts": [{"prompt": "a [MASK]", "answers": [
            {"text": word["token_str"], "score": round(word["score"], 2)} for word in best]}]},
    }  # fmt: skip
    (model / "card.json").write_text(json.dumps(card))
    return model


def test_a_card_is_computed_again(tinybert: Any, carded: Path, tmp_path: Path) -> None:
    ran = tinybert("evaluate", "card", carded, tmp_path / "held-out")
    assert ran.code == 0, ran.err
    heads, share, loss, _, examples = ran.out.splitlines()
    assert heads.split() == ["figure", "card", "now", "difference"]
    assert share.count("%") == 2
    assert abs(float(loss.split()[3])) <= 0.0005
    assert examples == "examples: 1 of 1 have the answers of the card"
    assert "$ tinybert evaluate masked tiny a.txt --length 24\n" in ran.err
    assert ran.err.count("$ tinybert") == 1, "two scores of one command are computed at once"


def test_a_card_that_says_too_much_fails(tinybert: Any, carded: Path, tmp_path: Path) -> None:
    card = json.loads((carded / "card.json").read_text())
    card["scores"][1]["value"] -= 0.002
    card["examples"]["prompts"][0]["answers"][0]["text"] = "zebra"
    (carded / "card.json").write_text(json.dumps(card))
    ran = tinybert("evaluate", "card", carded, tmp_path / "held-out")
    assert ran.code == 1
    assert [line.endswith("differs") for line in ran.out.splitlines()[:3]] == [False, False, True]
    assert "examples: 0 of 1" in ran.out
    assert "card: zebra" in ran.out
    found = json.loads(tinybert("evaluate", "card", carded, tmp_path / "held-out", "--json").out)
    assert [score["equal"] for score in found["scores"]] == [True, False]
    assert found["examples"][0]["equal"] is False


def test_other_answers_are_not_the_same() -> None:
    example = Example("x", [Answer("a", 0.5), Answer("b", 0.2)])
    a, b = Answer("a", 0.505), Answer("b", 0.195)
    assert is_same(example, [a, b, Answer("c", 0.19)])
    assert is_same(example, [a, Answer("c", 0.205), b]), "nearly equal ones may change places"
    assert not is_same(example, [a, Answer("b", 0.18)])
    assert not is_same(example, [a])
    assert not is_same(example, [Answer("c", 0.6), a, b])
    assert not is_same(example, [a, Answer("c", 0.3), b])


def test_a_card_has_few_options(
    tinybert: Any, refused: Any, carded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("evaluate", "card", carded, tmp_path / "held-out")
    message = refused(*words, "--length", 9, "--predictions", "x.jsonl", "--plain-masks", "--json")
    assert "--device and --json only: remove --max-length, --plain-masks, --predictions" in message
    real, devices = card_scores.pipeline, []
    monkeypatch.setattr(evaluate, "scores_now", lambda card, *_: [s.value for s in card.scores])
    monkeypatch.setattr(
        card_scores, "pipeline",
        lambda task, model, device: devices.append(device) or real(task, model),
    )  # fmt: skip
    assert tinybert(*words, "--device", "cuda").code == 0
    assert devices == ["cuda"]


def test_a_card_is_measured_on_its_own_data_only(
    refused: Any, carded: Path, tmp_path: Path
) -> None:
    held_out = tmp_path / "held-out"
    assert "DATA must be the folder with" in refused("evaluate", "card", carded, "a.txt")
    assert "DATA must be one folder" in refused("evaluate", "card", carded, held_out, "b")
    with (held_out / "a.txt").open("a") as file:
        file.write("One more.\n")
    error = refused("evaluate", "card", carded, held_out)
    assert "a.txt is not the held-out file of tiny: its SHA-256 is" in error
    assert "`make.py` makes the file" in error
    (held_out / "a.txt").unlink()
    assert "has no a.txt; `make.py` makes it" in refused("evaluate", "card", carded, held_out)


def test_similarities_are_compared_with_a_teachers(
    tinybert: Any, refused: Any, folder: Path, classifier: Path
) -> None:
    words = ["evaluate", "masked", folder / "masked", folder / "a.txt", "--length", 24]
    ran = tinybert(*words, "--teacher", folder / "masked", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)["metrics"]
    assert found.pop("similarity") == pytest.approx(1, abs=1e-3)  # it is its own teacher
    assert found == json.loads(tinybert(*words, "--json").out)["metrics"]
    error = refused(
        "evaluate", "classification", classifier, folder / "data.csv", "--teacher", "minilm"
    )
    assert "--teacher is an option of masked, not of classification" in error
