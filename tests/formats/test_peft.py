"""Folders with adapters: what PEFT wrote computes what it computes there; damage is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.fixtures.frameworks import unpack
from tests.support import assert_close
from tinybert import CheckpointError, LoraConfig, add_adapters
from tinybert.cli.main import main
from tinybert.files import FileError
from tinybert.lora_config import MOST_BASES
from tinybert.weights import open_checkpoint

IDS = [[2, 7, 1, 8, 2, 8, 1], [3, 1, 4, 1, 5, 9, 2]]
CLASSES = {
    "head": "BertForSequenceClassification",
    "patterns": "BertForTokenClassification",
    "bias-all": "BertForQuestionAnswering",
    "bias-lora": "BertForQuestionAnswering",
    "table": "BertForTokenClassification",
    "expression": "BertForTokenClassification",
    "one-layer": "BertForTokenClassification",
    "no-head": "BertModel",
    "pickled": "BertForTokenClassification",
    "megatron": "MegatronBertForTokenClassification",
    "mega": "MegaForTokenClassification",
    "nemotron": "NemotronForCausalLM",
}
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack("peft.zip", tmp_path_factory.mktemp("peft"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the adapter "patterns", beside its base model."""
    for name in ("patterns", "BertModel"):
        shutil.copytree(saved / name, tmp_path / name)
    return tmp_path / "patterns"


def labels(name: str) -> dict[str, int]:
    return {"num_labels": 3} if "Classification" in name else {}


@pytest.mark.parametrize(("case", "name"), CLASSES.items(), ids=CLASSES)
def test_what_peft_saved_computes_the_same(case: str, name: str, saved: Path) -> None:
    model, report = getattr(tinybert, name).from_pretrained(
        saved / case, dtype="float64", output_loading_info=True, **labels(name)
    )
    assert [key for key in report.missing_keys if "pooler" not in key] == []
    output = model(IDS)
    for key, expected in tinybert.load_file(saved / case / "expected.safetensors").items():
        assert_close(output[key].numpy(), expected, rtol=2e-6, name=key)  # stored in float32


@pytest.mark.parametrize("case", ["head", "patterns", "megatron", "nemotron"])
def test_our_files_have_pefts_names(case: str, saved: Path, tmp_path: Path) -> None:
    theirs = json.loads((saved / case / CONFIG).read_text())
    model = getattr(tinybert, CLASSES[case]).from_pretrained(
        saved / theirs["base_model_name_or_path"].removeprefix("../"), **labels(CLASSES[case])
    )
    options = {
        name: theirs[name]
        for name in ("target_modules", "modules_to_save", "rank_pattern", "r", "lora_alpha")
    }
    whole = options["modules_to_save"]
    options["modules_to_save"] = whole and [name for name in whole if name != "score"]
    add_adapters(model, LoraConfig(**options)).save_pretrained(tmp_path)
    ours = json.loads((tmp_path / CONFIG).read_text())
    assert ours.keys() <= theirs.keys()
    files = [tinybert.load_file(path / WEIGHTS) for path in (tmp_path, saved / case)]
    shapes = [{name: array.shape for name, array in file.items()} for file in files]
    assert shapes[0] == shapes[1]


def test_the_reader_merges_and_is_lazy(saved: Path) -> None:
    with open_checkpoint(saved / "head") as reader, open_checkpoint(saved / "BertForMaskedLM") as b:
        assert reader.format == "safetensors, adapted"
        assert "classifier.weight" in reader
        assert not any(name.startswith("cls.") for name in reader)  # the base's head is replaced
        query = "bert.encoder.layer.0.attention.self.query.weight"
        factors = tinybert.load_file(saved / "head" / WEIGHTS)
        name = "base_model.model." + query.removesuffix("weight")
        change = 2 * factors[f"{name}lora_B.weight"] @ factors[f"{name}lora_A.weight"]
        assert_close(reader[query], b[query] + change, rtol=1e-6)
        assert reader.info(query) == b.info(query)
        assert reader.mapped(query) is None
        out = np.empty(reader.info(query).shape, np.float64)
        reader.read_into(query, out)
        assert (out == reader[query]).all()
        key = query.replace("query", "key")
        assert (reader[key] == b[key]).all()
        if os.name == "posix":
            assert reader.mapped(key) is not None


def test_convert_merges_and_inspect_lists(saved: Path, tmp_path: Path, capsys: Any) -> None:
    """The base has the config and the tokenizer that PEFT's folder lacks."""
    for name in ("head", "BertForMaskedLM"):
        shutil.copytree(saved / name, tmp_path / name)
    (tmp_path / "BertForMaskedLM" / "vocab.txt").write_text("[UNK]\n")
    assert main(["convert", str(tmp_path / "head"), str(tmp_path / "merged")]) == 0
    files = {path.name for path in (tmp_path / "merged").iterdir()}
    assert files == {"config.json", "model.safetensors", "vocab.txt"}
    expected = tinybert.load_file(saved / "head" / "expected.safetensors")["logits"]
    model = tinybert.BertForSequenceClassification.from_pretrained(
        tmp_path / "merged", num_labels=3
    )
    assert_close(model(IDS).logits.numpy(), expected, rtol=1e-5)
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "head"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["model_type"] == "bert"


# --- what cannot be used --------------------------------------------------------------------------


def config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        options = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**options, **changes}))

    return change


def tensors(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        arrays = {
            name: array.copy() for name, array in tinybert.load_file(folder / WEIGHTS).items()
        }
        change(arrays)
        tinybert.save_file(arrays, folder / WEIGHTS)

    return apply


def text(content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / CONFIG).write_text(content)


LAYER = "base_model.model.bert.encoder.layer.0.attention.self.query"
A, B = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "another method": (config(peft_type="IA3"), "peft_type is 'IA3', not 'LORA'"),
    "DoRA": (config(use_dora=True), "use_dora is not supported"),
    "a bias of B": (config(lora_bias=True), "lora_bias is not supported"),
    "PiSSA": (config(init_lora_weights="pissa"), "init_lora_weights is 'pissa', which changes"),
    "no base": (config(base_model_name_or_path=None), "base_model_name_or_path is missing"),
    "a rank of 0": (config(r=0), "r must be an integer >= 1, got 0"),
    "a base with a long name": (
        config(base_model_name_or_path="a" * 5000), f"{CONFIG}: base_model_name_or_path: "
    ),
    "a base that is a number": (config(base_model_name_or_path=7), "must be a str or None, got 7"),
    "no such base": (
        config(base_model_name_or_path="../nothing"),
        f"{CONFIG}: base_model_name_or_path: there is no folder '../nothing'",
    ),
    "a rank of text": (config(r="3"), "r must be an integer >= 1, got '3'"),
    "a huge rank": (config(r=10**12), "do not fit the rank 1000000000000"),
    "rank 0": (config(rank_pattern={"query": 0}), "rank_pattern['query'] must be an integer >= 1"),
    "a negative alpha": (config(lora_alpha=-1), "lora_alpha must be a number >= 0, got -1"),
    "an infinite alpha": (text('{"peft_type": "LORA", "lora_alpha": Infinity}'), "got inf"),
    "a slow pattern": (config(alpha_pattern={"(\\w+)+!": 2}), "keys are names of modules"),
    "no object": (text("[]"), "expected a JSON object, got list"),
    "no JSON": (text('{"peft_type"'), "JSON"),
    "deep JSON": (text("[" * 10**5), "JSON"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "but no adapter_model.safetensors"),
    "no B": (tensors(lambda t: t.pop(B)), "lora_A.weight' without its counterpart"),
    "nothing": (tensors(lambda t: t.clear()), "has no low-rank matrices"),
    "a plain file": (
        tensors(lambda t: t.update({"bert.x": t[A]})), "'bert.x' does not begin with 'base_model"
    ),
    "another layer": (
        tensors(lambda t: t.update({A.replace("query", "q"): t[A], B.replace("query", "q"): t[B]})),
        "'bert.encoder.layer.0.attention.self.q' is not a layer of the base model",
    ),
    "another width": (
        tensors(lambda t: t.update({A: np.ones((3, 13), "f4")})),
        "has the shapes (12, 3) and (3, 13), which do not fit the rank 3 and the weight (12, 12)",
    ),
    "another rank": (
        tensors(lambda t: t.update({A: np.ones((2, 12), "f4"), B: np.ones((12, 2), "f4")})),
        "do not fit the rank 3",
    ),
    "a vector": (tensors(lambda t: t.update({A: np.ones(12, "f4")})), "(12,), which do not fit"),
    "integers": (tensors(lambda t: t.update({A: t[A].astype("i4")})), "no floating-point numbers"),
    "a vector of DoRA": (
        tensors(lambda t: t.update({f"{LAYER}.lora_magnitude_vector": np.ones(12, "f4")})),
        "lora_magnitude_vector' belongs to a method that is not supported",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named(damage: Callable[[Path], object], message: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises((CheckpointError, FileError, FileNotFoundError)) as caught:
        tinybert.BertForTokenClassification.from_pretrained(folder, num_labels=3)
    assert message in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("loads", ["model", "config", "tokenizer"])
def test_an_endless_chain_is_refused(
    loads: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter that names itself, and two that name each other: few files are read."""
    reads, read = [], LoraConfig.from_folder

    def counted(place: Path) -> LoraConfig:
        reads.append(place)
        return read(place)

    monkeypatch.setattr(LoraConfig, "from_folder", counted)
    load = {
        "model": tinybert.AutoModelForTokenClassification,
        "config": tinybert.AutoConfig,
        "tokenizer": tinybert.BertTokenizer,
    }[loads]
    other = shutil.copytree(folder, folder.with_name("other"))
    for first, second in (("patterns", "patterns"), ("other", "patterns")):
        config(base_model_name_or_path=f"../{first}")(folder)
        config(base_model_name_or_path=f"../{second}")(other)
        reads.clear()
        with pytest.raises(FileError, match="adapters over each other; does one name itself"):
            load.from_pretrained(folder)
        assert 1 < len(reads) <= 3 * MOST_BASES


def test_a_row_of_adapters_has_a_limit(folder: Path) -> None:
    names = [folder.name, *map(str, range(1, MOST_BASES + 1))]
    for name, base in zip(names, [*names[1:], "BertModel"], strict=True):
        if name != folder.name:
            shutil.copytree(folder, folder.with_name(name))
        config(base_model_name_or_path=f"../{base}")(folder.with_name(name))
    with pytest.raises(FileError, match=f"more than {MOST_BASES} adapters"):
        open_checkpoint(folder)
    open_checkpoint(folder.with_name("1")).close()


@pytest.mark.skipif(os.name != "posix", reason="pipes of the file system are POSIX's")
def test_a_pipe_is_not_opened(folder: Path) -> None:
    (folder / CONFIG).unlink()
    os.mkfifo(folder / CONFIG)
    with pytest.raises(FileError, match="is not a regular file"):
        tinybert.AutoConfig.from_pretrained(folder)


def test_a_name_of_the_hub_is_looked_up_as_any(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base by its name is found in the cache, and not asked for when the user is offline."""
    cache = folder.with_name("cache")
    snapshot = cache / "models--a--tiny-bert" / "snapshots" / "abc"
    shutil.copytree(folder.with_name("BertModel"), snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "v1").write_text("abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config(base_model_name_or_path="a/tiny-bert", revision="v1")(folder)
    model = tinybert.BertForTokenClassification.from_pretrained(folder, num_labels=3)
    expected = tinybert.load_file(folder / "expected.safetensors")["logits"]
    assert_close(model(IDS).logits.numpy(), expected, rtol=1e-5)
    config(base_model_name_or_path="a/tiny-bert", revision="v2")(folder)
    with pytest.raises(FileNotFoundError, match=r"base_model_name_or_path: .*unset HF_HUB_OFFLINE"):
        tinybert.BertForTokenClassification.from_pretrained(folder, num_labels=3)
