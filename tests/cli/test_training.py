"""train-tokenizer, pretrain and finetune, from a text file to a model that answers."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from matplotlib.axes import Axes

from tinybert import AutoTokenizer, load_checkpoint, load_file
from tinybert.cli.loss_curves import save_loss_curve, save_loss_curves
from tinybert.cli.main import build_parser
from tinybert.cli.pretrain import DEFAULTS
from tinybert.cli.training_arguments import read_options
from tinybert.models import AutoConfig
from tinybert.training import Trainer
from tinybert.training.language_modeling import LanguageModeling
from tinybert.training.log import read_log

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


def test_a_teacher_of_sentence_vectors(tinybert, made: Path) -> None:
    text = made / "a.txt"
    words = (
        "pretrain", text, "--validation", text, "--model", made / "bert", "--length", 24,
        "--batch-size", 4, "--steps", 4, "--teacher", made / "bert",
    )  # fmt: skip
    ran = tinybert(*words, "--output", made / "taught", "--json")
    assert ran.code == 0, ran.err
    metrics = json.loads(ran.out)["metrics"]
    assert set(metrics) == {"loss", "accuracy", "perplexity", "similarity"}
    assert metrics["similarity"] > 0.9  # its own teacher
    other = ("--objective", "masked+next", "--output", made / "other")
    assert (
        "a teacher needs the objective 'masked', got 'masked+next'" in tinybert(*words, *other).err
    )


def test_a_run_is_repeated_by_its_config(tinybert, made: Path) -> None:
    options = json.loads((made / "bert" / "run.json").read_text())
    assert options["steps"] == 6
    ran = tinybert("pretrain", "--config", made / "bert" / "run.json", "--output", made / "again")
    assert ran.code == 0, ran.err
    ours, again = load_checkpoint(made / "bert"), load_checkpoint(made / "again")
    assert all((ours[name] == again[name]).all() for name in ours)


def test_the_device_is_that_of_the_config_unless_given(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"device": "cuda"}')
    for flags, device in (([], "cuda"), (["--device", "cpu"], "cpu")):
        words = ["pretrain", "--config", str(path), "--output", "x", *flags]
        args = build_parser("pretrain").parse_args(words)
        assert read_options(args, DEFAULTS)["device"] == device


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


def test_a_new_head_and_adapters_are_seeded(tinybert, made: Path) -> None:
    (made / "train.csv").write_text("text,label\nthe cat sat,good\na dog ran,bad\n")
    command = (
        "finetune", "classification", "--train", made / "train.csv", "--model", made / "bert",
        "--steps", 1, "--rank", 2, "--output",
    )  # fmt: skip
    weights = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert tinybert(*command, made / name, "--seed", seed).code == 0
        weights.append(load_file(made / name / "adapter_model.safetensors"))
    for name, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][name])
        assert not np.array_equal(array, weights[2][name])


def test_adapters_are_trained_resumed_and_used(tinybert, made: Path) -> None:
    rows = ["text,label", "the cat sat,good", "a dog ran,bad", "the mat,good", "in the park,bad"]
    (made / "train.csv").write_text("\n".join(rows) + "\n")
    command = (
        "finetune", "classification", "--train", made / "train.csv", "--validation",
        made / "train.csv", "--model", made / "bert", "--steps", 6, "--save-every", 2,
        "--rank", 3, "--targets", "query", "dense", "--learning-rate", 0.02, "--output",
    )  # fmt: skip
    head = made / "head"
    ran = tinybert(*command, head, "--json")
    assert ran.code == 0, ran.err
    adapters = 3 * (16 + 16) * 2 + 3 * (16 + 24) * 2  # query and three layers named dense
    whole = (16 * 16 + 16) + (16 * 2 + 2)  # the pooler, which the model lacks, and the classifier
    assert f"parameters, {adapters + whole} of them trained" in ran.err
    files = {path.name for path in head.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "config.json"} <= files
    assert "model.safetensors" not in files
    config = json.loads((head / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (3, 6)
    assert config["modules_to_save"] == ["bert.pooler.dense", "classifier"]
    assert config["base_model_name_or_path"] == str(made / "bert")
    assert json.loads((head / "run.json").read_text())["targets"] == ["query", "dense"]

    metrics = json.loads(ran.out)["metrics"]
    again = tinybert("evaluate", "classification", head, made / "train.csv", "--json")
    assert json.loads(again.out)["metrics"]["loss"] == pytest.approx(metrics["loss"], rel=1e-5)
    assert tinybert("classify", "the cat", "--model", head).code == 0

    shutil.copytree(head, made / "half")
    last = "checkpoint-00000006"
    shutil.rmtree(made / "half" / last)
    ran = tinybert("finetune", "--resume", "--output", made / "half")
    assert "resumed after step 4 of 6" in ran.err
    ours, resumed = (
        load_file(f / last / "adapter_model.safetensors") for f in (head, made / "half")
    )
    assert all((ours[name] == resumed[name]).all() for name in ours)
    other = tinybert("finetune", "--resume", "--rank", 2, "--output", made / "half")
    assert "lora_A.weight: expected shape (2, 16), got (3, 16)" in other.err


def test_a_head_finds_the_tokenizer_of_its_base(tinybert, made: Path) -> None:
    (made / "train.jsonl").write_text(
        '{"words": ["the", "cat"], "tags": ["O", "A"]}\n' * 4, encoding="utf-8"
    )
    ran = tinybert(
        "finetune", "tagging", "--train", made / "train.jsonl", "--model", made / "bert",
        "--steps", 2, "--rank", 2, "--alpha", 5, "--output", made / "head",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "bert.pooler" not in (made / "head" / "adapter_config.json").read_text()
    for path in (made / "head").glob("*token*"):
        path.unlink()
    (made / "head" / "vocab.txt").unlink()
    ran = tinybert("tag", "the cat", "--model", made / "head", "--json")
    assert ran.code == 0, ran.err
    tokenizer = AutoTokenizer.from_pretrained(made / "head")
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(made / "bert").get_vocab()


def test_a_tokenizer_of_bytes(tinybert, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    command = ("train-tokenizer", tmp_path / "a.txt", "--kind", "bpe", "--vocab-size", 300)
    assert tinybert(*command, "--output", tmp_path / "t").code == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "t")
    assert tokenizer.decode(tokenizer("a dog – ran")["input_ids"][1:-1]) == "a dog – ran"


def test_a_tokenizer_of_bytes_for_decoders(tinybert, tmp_path: Path) -> None:
    """No special tokens, a space before the first word; the same ids in transformers."""
    (tmp_path / "a.txt").write_text(TEXT)
    command = ("train-tokenizer", tmp_path / "a.txt", "--kind", "gpt2", "--vocab-size", 300)
    assert tinybert(*command, "--output", tmp_path / "t").code == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "t")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "t")
    assert dict(theirs("a dog – ran")) == dict(tokenizer("a dog – ran"))
    assert theirs.all_special_ids == tokenizer.all_special_ids == [0, 1]
    ids = [i for line in ("The cat.", "A dog.") for i in tokenizer(line)["input_ids"]]
    assert tokenizer.decode(ids) == " The cat. A dog."
    ran = tinybert(
        "pretrain", tmp_path / "a.txt", "--family", "nemotron", "--tokenizer", tmp_path / "t",
        *SIZES, "--steps", 1, "--length", 16, "--output", tmp_path / "m",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    config = AutoConfig.from_pretrained(tmp_path / "m")
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (0, 0, 1)


FAULTS = {
    "no text": (["pretrain", "--output", "x"], "TEXT is required"),
    "no start": (["pretrain", "a.txt", "--output", "x"], "give --model to start from its weights"),
    "no tokenizer": (["pretrain", "a.txt", "--output", "x", "--family", "bert"], "--tokenizer"),
    "no output": (["finetune", "tagging", "--train", "a.csv"], "--output FOLDER is required"),
    "no ranks": (
        ["finetune", "tagging", "--train", "a.csv", "--output", "x", "--data", "0"],
        "--data must be an integer >= 1, got 0",
    ),
    "no task": (["finetune", "--train", "a.csv", "--output", "x"], "TASK is required"),
    "alpha without rank": (
        ["finetune", "tagging", "--train", "a.csv", "--output", "x", "--alpha", "2"],
        "--alpha needs --rank",
    ),
    "rank 0": (
        ["finetune", "tagging", "--train", "a.csv", "--output", "x", "--rank", "0"],
        "--rank must be an integer >= 1, got 0",
    ),
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


def test_resume_needs_only_the_folder(tinybert, made: Path) -> None:
    ran = tinybert("pretrain", "--resume", "--output", made / "bert")
    assert ran.code == 0, ran.err
    assert "resumed after step 6 of 6" in ran.err
    assert "perplexity" in ran.out
    empty = ("pretrain", "--config", made / "bert" / "run.json", "--resume")
    assert "has no checkpoint: the run starts" in tinybert(*empty, "--output", made / "x").err
    missing = tinybert("pretrain", "--resume", "--output", "nowhere").err.splitlines()
    assert missing[0].startswith("note: nowhere has no run.json")
    assert "TEXT is required" in missing[1]


def test_the_metrics_are_those_of_the_best_model(
    tinybert, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 1.0, 2.0, 2.5, 9.0])
    monkeypatch.setattr(
        LanguageModeling, "evaluate", lambda self, model, tokens: {"loss": next(losses)}
    )
    command = ("pretrain", "--config", made / "bert" / "run.json", "--output", made / "again")
    ran = tinybert(*command, "--evaluate-every", 1, "--patience", 2, "--json")
    assert ran.code == 0, ran.err
    shown = json.loads(ran.out)
    assert (shown["steps"], shown["best_step"], shown["metrics"]) == (4, 2, {"loss": 1.0})
    assert "stopped at step 4: 2 evaluations without gain" in ran.err
    assert "the best model, of step 2" in ran.err


def test_a_language_model_continues_on_a_column(tinybert, refused, made: Path) -> None:
    (made / "notes.csv").write_text("note,id\n" + '"the cat sat ,\nand ran .",1\na dog .,2\n' * 20)
    command = (
        "finetune", "masked", "--train", made / "notes.csv", "--validation", made / "notes.csv",
        "--column", "text=note", "--model", made / "bert", "--steps", 2, "--length", 16,
        "--output", made / "notes",
    )  # fmt: skip
    ran = tinybert(*command)
    assert ran.code == 0, ran.err
    assert "number of documents: 40" in ran.err
    assert f'tinybert fill-mask "The [MASK] of the ship." --model {made / "notes"}' in ran.err
    assert "perplexity" in ran.out
    causal = ("finetune", "causal", *command[2:-1])
    assert "'causal' needs a decoder" in tinybert(*causal, made / "c").err


def test_mega_in_chunks_trains_on_rows_of_any_length(tinybert, tmp_path: Path) -> None:
    """Rows longer than a chunk of 5 tokens, and no multiple of it."""
    text, tags = tmp_path / "a.txt", tmp_path / "tags.jsonl"
    text.write_text(TEXT)
    tags.write_text('{"words": "the cat sat on the mat .", "tags": "D N V P D N O"}\n' * 4)
    folder = tmp_path / "tokenizer"
    assert tinybert("train-tokenizer", text, "--vocab-size", 60, "--output", folder).code == 0
    sizes = {
        "hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8, "ema_projection_size": 2,
        "shared_representation_size": 4, "nffn_hidden_size": 8, "use_chunking": True,
        "chunk_size": 5,
    }  # fmt: skip
    options = [item for key, value in sizes.items() for item in ("--set", f"{key}={value}")]
    short = ("--steps", 1, "--batch-size", 3)
    mega, tagger = tmp_path / "mega", tmp_path / "tagger"
    for command in (
        ("pretrain", text, "--validation", text, "--tokenizer", folder, "--family", "mega",
         *options, *short, "--length", 18, "--output", mega),
        ("evaluate", "masked", mega, text, "--length", 18),
        ("finetune", "tagging", "--train", tags, "--model", mega, *short, "--output", tagger),
        ("evaluate", "tagging", tagger, tags),
    ):  # fmt: skip
        ran = tinybert(*command)
        assert ran.code == 0, ran.err


def test_a_model_folder_is_not_overwritten(refused, made: Path) -> None:
    (made / "bert" / "log.jsonl").unlink()
    command = ("pretrain", made / "a.txt", "--model", made / "bert", "--output", made / "bert")
    assert "has a model already; choose another --output" in refused(*command)


BAD_DATA = {
    "one label": ("text,label\na,x\nb,x\n", [], "all rows have the label 'x'"),
    "other column": ("a,b\nc,d\n", [], "row 1 has no column 'text'; it has a, b"),
    "no equals sign": ("text,label\na,x\n", ["--column", "text"], "NAME=COLUMN with NAME one of"),
    "unknown name": ("text,label\na,x\n", ["--column", "t=text"], "one of text, label, text_pair"),
    "other task": ("text,label\na,x\n", ["--stride", "3"], "--stride is an option of question"),
    "UTF-16": ("\ufefftext,label\na,x\n", [], "is not UTF-8; save the file as UTF-8"),
}


@pytest.mark.parametrize(("content", "more", "message"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data_is_refused_before_the_training(
    content: str, more: list[str], message: str, tinybert, made: Path
) -> None:
    encoding = "utf-16-le" if content.startswith("\ufeff") else "utf-8"
    (made / "bad.csv").write_bytes(content.encode(encoding))
    command = ("finetune", "classification", "--train", made / "bad.csv", "--model", made / "bert")
    ran = tinybert(*command, "--output", made / "out", *more)
    assert ran.code == 2
    assert message in ran.err
    assert not (made / "out").exists()


def test_validation_is_read_before_the_training(tinybert, made: Path) -> None:
    (made / "train.csv").write_text("text,label\na,x\nb,y\n")
    (made / "valid.csv").write_text("text,label\na,x\nb,z\n")
    command = ("finetune", "classification", "--model", made / "bert", "--output", made / "out")
    data = ("--train", made / "train.csv", "--validation", made / "valid.csv")
    assert "valid.csv: row 2: label must be one of 'x', 'y'" in tinybert(*command, *data).err
    assert not (made / "out").exists()
    assert "--patience needs --validation" in tinybert(*command, *data[:2], "--patience", 1).err


# --- loss curves ----------------------------------------------------------------------------------


def test_a_run_draws_its_loss(tinybert, made: Path) -> None:
    assert (made / "bert" / "loss.png").read_bytes().startswith(b"\x89PNG")
    picture = made / "both.svg"
    ran = tinybert("plot", "loss", made / "bert", made / "bert/../bert", "--output", picture)
    assert ran.code == 0, ran.err
    assert picture.read_bytes().startswith(b"<?xml")
    log = read_log(made / "bert")
    header, *rows = (line.split() for line in ran.out.splitlines())
    assert header[:4] == ["run", "steps", "loss", "validation"]
    assert len(rows) == 2
    assert rows[0][1] == "6"
    assert float(rows[0][2]) == pytest.approx(log[-2]["loss"], abs=1e-3)
    assert float(rows[0][3]) == pytest.approx(log[-1]["loss"], abs=1e-3)
    shown = json.loads(tinybert("plot", "loss", made / "bert", "--json").out)
    assert shown[str(made / "bert")]["log"] == log


def test_the_curves_are_those_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, list[float], list[float]]] = []
    plot = Axes.plot

    def keep(self: Axes, x: Any, y: Any, *style: Any, **options: Any) -> Any:
        drawn.append((options.get("label", ""), list(x), list(y)))
        return plot(self, x, y, *style, **options)

    monkeypatch.setattr(Axes, "plot", keep)
    rate = {"learning_rate": 1.0}
    log: list[dict[str, float]] = [{"step": s, "loss": s % 2, **rate} for s in range(1, 121)]
    log += [{"step": 60, "loss": 0.7, "accuracy": 0.5, "perplexity": 2.0}]
    save_loss_curves(tmp_path / "a.png", {"": log})
    names = [name for name, _, _ in drawn]
    assert names == ["", "training", "validation", "accuracy"]
    assert drawn[0][2] == [s % 2 for s in range(1, 121)]
    assert drawn[1][2][50] == pytest.approx(np.mean([s % 2 for s in range(49, 54)]))
    assert drawn[2][1:] == ([60], [0.7])
    drawn.clear()
    save_loss_curves(tmp_path / "a.png", {"x": log[:3], "y": log[:3]})
    assert [name for name, _, _ in drawn] == ["x, training", "y, training"]


def test_without_matplotlib_a_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said: list[str] = []
    save_loss_curve(tmp_path, said.append)
    assert said == ['loss.png needs matplotlib: pip install "tinybert[plot]"']
    assert not list(tmp_path.iterdir())


def test_plot_loss_needs_runs(refused, tmp_path: Path) -> None:
    assert "MODEL is required" in refused("plot", "loss")
    assert "has no training run" in refused("plot", "loss", tmp_path)
    assert "plot ema takes one MODEL, got 2" in refused("plot", "ema", "a", "b")
