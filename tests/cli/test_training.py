"""train-tokenizer, pretrain and finetune, from a text file to a model that answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinybert import AutoTokenizer, load_checkpoint
from tinybert.training import Trainer

TEXT = "\n\n".join("the cat sat on the mat .\na dog ran in the park ." for _ in range(12))
SIZES = [
    "--set", "hidden_size=16", "--set", "num_hidden_layers=1", "--set", "num_attention_heads=2",
    "--set", "intermediate_size=24", "--set", "max_position_embeddings=32",
]  # fmt: skip


@pytest.fixture
def made(tinybert, tmp_path: Path) -> Path:
    """A folder with a text file, a tokenizer and a pretrained BERT."""
    (tmp_path / "a.txt").write_text(TEXT)
    tokenizer = ("train-tokenizer", tmp_path / "a.txt", "--vocab-size", 60)
    ran = tinybert(*tokenizer, "--output", tmp_path / "tokenizer")
    assert ran.code == 0
    assert ran.out.startswith("learnt ")
    ran = tinybert(
        "pretrain", tmp_path / "a.txt", "--validation", tmp_path / "a.txt", "--tokenizer",
        tmp_path / "tokenizer", "--family", "bert", *SIZES, "--length", 24, "--steps", 6,
        "--batch-size", 4, "--save-every", 2, "--output", tmp_path / "bert",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "perplexity" in ran.out
    assert "BertForMaskedLM with" in ran.err
    return tmp_path


def test_a_pretrained_model_fills_masks(tinybert, made: Path) -> None:
    ran = tinybert("fill-mask", "the [MASK] sat .", "--model", made / "bert", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)


def test_a_run_is_repeated_by_its_config(tinybert, made: Path) -> None:
    options = json.loads((made / "bert" / "run.json").read_text())
    assert options["steps"] == 6
    ran = tinybert("pretrain", "--config", made / "bert" / "run.json", "--output", made / "again")
    assert ran.code == 0, ran.err
    ours, again = load_checkpoint(made / "bert"), load_checkpoint(made / "again")
    assert all((ours[name] == again[name]).all() for name in ours)


def test_a_folder_with_a_run_is_not_overwritten(tinybert, refused, made: Path) -> None:
    same = ("pretrain", "--config", made / "bert" / "run.json")
    assert "has a run already; add --resume" in tinybert(*same).err
    assert tinybert(*same, "--resume").code == 0
    assert "--learning-rate was 0.0005" in tinybert(*same, "--resume", "--learning-rate", "1").err


def test_finetuning_classifies(tinybert, made: Path) -> None:
    rows = ["review,stars", "the cat sat,good", "a dog ran,bad", "the mat,good", "in the park,bad"]
    (made / "train.csv").write_text("\n".join(rows) + "\n")
    ran = tinybert(
        "finetune", "classification", "--train", made / "train.csv", "--validation",
        made / "train.csv", "--column", "text=review", "--column", "label=stars", "--model",
        made / "bert", "--output", made / "classifier", "--steps", 4, "--max-length", 16, "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "4 rows, labels: bad, good" in ran.err
    assert set(json.loads(ran.out)["metrics"]) == {"loss", "accuracy", "f1"}
    answers = tinybert("classify", "the cat", "--model", made / "classifier", "--json")
    labels = json.loads(answers.out)["results"][0]["labels"]
    assert {label["label"] for label in labels} == {"bad", "good"}


def test_a_tokenizer_of_bytes(tinybert, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    command = ("train-tokenizer", tmp_path / "a.txt", "--kind", "bpe", "--vocab-size", 300)
    assert tinybert(*command, "--output", tmp_path / "t").code == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "t")
    assert tokenizer.decode(tokenizer("a dog – ran")["input_ids"][1:-1]) == "a dog – ran"


FAULTS = {
    "no text": (["pretrain", "--output", "x"], "TEXT is required"),
    "no start": (["pretrain", "a.txt", "--output", "x"], "give --model to start from its weights"),
    "no tokenizer": (["pretrain", "a.txt", "--output", "x", "--family", "bert"], "--tokenizer"),
    "no output": (["finetune", "tagging", "--train", "a.csv"], "--output FOLDER is required"),
    "no task": (["finetune", "--train", "a.csv", "--output", "x"], "TASK is required"),
    "no data": (["finetune", "tagging", "--output", "x"], "--train FILE is required"),
}


@pytest.mark.parametrize(("command", "message"), FAULTS.values(), ids=FAULTS)
def test_what_is_missing_is_named(
    command: list[str], message: str, refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(*command)


def test_a_run_that_is_interrupted_says_how_to_continue(
    tinybert, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, count = Trainer._train_step, iter(range(10))

    def interrupted(trainer: Trainer) -> dict[str, float]:
        if next(count) == 3:
            raise KeyboardInterrupt
        return step(trainer)

    monkeypatch.setattr(Trainer, "_train_step", interrupted)
    command = ("pretrain", "--config", made / "bert" / "run.json", "--output", made / "again")
    ran = tinybert(*command)
    assert ran.code == 130
    assert "--resume continues from the last checkpoint\ninterrupted\n" in ran.err
    assert "resumed after step 2 of 6" in tinybert(*command, "--resume").err
    ours, again = load_checkpoint(made / "bert"), load_checkpoint(made / "again")
    assert all((ours[name] == again[name]).all() for name in ours)


def test_a_vocabulary_that_is_too_small_leaves_no_folder(refused, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    command = ("train-tokenizer", tmp_path / "a.txt", "--vocab-size", 3)
    assert "must be at least" in refused(*command, "--output", tmp_path / "t")
    assert not (tmp_path / "t").exists()
