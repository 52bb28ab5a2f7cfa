"""Flax's files: what transformers saved is read, and what we save are the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.frontends.flax import settings
from tests.frontends.flax.test_golden import make
from tinybert.formats.flax.file import FlaxFile
from tinybert.formats.flax.writing import save_msgpack
from tinybert.frontends.flax.parameters import leaves_of, tree_of

SAVED = Path(__file__).with_name("saved")  # by transformers
IDS = np.array([[1, 5, 9, 2, 7]])


@pytest.mark.parametrize("name", ["flax_model.msgpack", "model.safetensors"])
def test_transformers_files_are_read(tmp_path: Path, name: str) -> None:
    for file in ("config.json", name):
        (tmp_path / file).write_bytes((SAVED / file).read_bytes())
    _, params, _ = make(settings.SAVED)
    model = tinybert.FlaxBertForNextSentencePrediction.from_pretrained(tmp_path)
    found = leaves_of(model.params)
    assert found.keys() == leaves_of(params).keys()
    for path, leaf in leaves_of(params).items():
        assert (found[path].numpy() == leaf).all(), path
    torch_twin = tinybert.BertForNextSentencePrediction.from_pretrained(tmp_path)
    np.testing.assert_allclose(model(IDS).logits.numpy(), torch_twin(IDS).logits.numpy(), atol=1e-6)


def test_what_we_save_are_the_bytes_that_flax_saves(tmp_path: Path) -> None:
    model, params, _ = make(settings.SAVED)
    with FlaxFile(SAVED / "flax_model.msgpack") as reader:
        names = list(reader)  # in the order of the file
    order = {place.name: path for path, place in model._places.items()}
    leaves = leaves_of(params)
    model.save_pretrained(tmp_path, tree_of({order[name]: leaves[order[name]] for name in names}))
    saved = (tmp_path / "flax_model.msgpack").read_bytes()
    assert saved == (SAVED / "flax_model.msgpack").read_bytes()
    config = tinybert.BertConfig.from_pretrained(tmp_path)
    assert config.architectures == ["BertForNextSentencePrediction"]


@pytest.mark.parametrize("safe", [False, True])
def test_a_folder_is_read_again(tmp_path: Path, safe: bool) -> None:
    model = tinybert.FlaxBertForMaskedLM(tinybert.BertConfig(**settings.SIZES), seed=5)
    model.save_pretrained(tmp_path, safe_serialization=not safe)
    model.save_pretrained(tmp_path, safe_serialization=safe)  # replaces the other file
    weights = {file.name for file in tmp_path.iterdir()} - {"config.json"}
    assert weights == {"model.safetensors" if safe else "flax_model.msgpack"}
    if safe:
        with tinybert.weights.SafetensorsFile(tmp_path / "model.safetensors") as reader:
            assert reader.metadata == {"format": "flax"}
            names = [".".join(path) for path in leaves_of(model.params)]
            assert sorted(reader) == sorted(names)
    again = tinybert.FlaxBertForMaskedLM.from_pretrained(tmp_path)
    assert (again(IDS).logits.numpy() == model(IDS).logits.numpy()).all()
    twin = tinybert.BertForMaskedLM.from_pretrained(tmp_path)
    np.testing.assert_allclose(twin(IDS).logits.numpy(), model(IDS).logits.numpy(), atol=1e-6)
    twin.save_pretrained(tmp_path / "torch")
    back = tinybert.FlaxBertForMaskedLM.from_pretrained(tmp_path / "torch", from_pt=True)
    for path, leaf in leaves_of(model.params).items():
        assert (leaves_of(back.params)[path].numpy() == leaf.numpy()).all()


def test_a_base_model_from_the_folder_of_a_head_and_back(tmp_path: Path) -> None:
    sizes = tinybert.BertConfig(**settings.SIZES)
    head = tinybert.FlaxBertForNextSentencePrediction(sizes, seed=5)
    head.save_pretrained(tmp_path / "head")
    base = tinybert.FlaxBertModel.from_pretrained(tmp_path / "head")
    kernel = head.params["bert"]["pooler"]["dense"]["kernel"].numpy()
    assert (base.params["pooler"]["dense"]["kernel"].numpy() == kernel).all()
    base.save_pretrained(tmp_path / "base")
    load = tinybert.FlaxBertForNextSentencePrediction.from_pretrained
    again = load(tmp_path / "base", seed=5)
    for path, leaf in leaves_of(head.params).items():  # the head is drawn with the same seed
        assert (leaves_of(again.params)[path].numpy() == leaf.numpy()).all()
    model, params = load(tmp_path / "base", _do_init=False)
    assert model.required_params - set(leaves_of(params)) == {
        ("cls", "seq_relationship", name) for name in ("kernel", "bias")
    }
    filled = model.init_weights(5, params=params)  # as PRNGKey(5)
    assert (model(IDS, params=filled).logits.numpy() == again(IDS).logits.numpy()).all()


def test_options_of_loading(tmp_path: Path) -> None:
    tinybert.FlaxBertModel(tinybert.BertConfig(**settings.SIZES)).save_pretrained(tmp_path)
    model = tinybert.FlaxBertModel.from_pretrained(tmp_path, dtype="float64", hidden_act="relu")
    assert model.config.hidden_act == "relu"
    assert model(IDS)[0].dtype == np.float64
    with pytest.raises(TypeError, match="config is given"):
        tinybert.FlaxBertModel.from_pretrained(tmp_path, config=model.config, hidden_act="relu")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="save_directory"):
        model.save_pretrained(tmp_path / "file")


def test_the_loading_report_names_the_flax_class(tmp_path: Path, caplog: Any) -> None:
    tinybert.FlaxBertModel(tinybert.BertConfig(**settings.SIZES)).save_pretrained(tmp_path)
    model = tinybert.FlaxBertForTokenClassification.from_pretrained(tmp_path)
    (record,) = caplog.records
    assert record.message.startswith("FlaxBertForTokenClassification was loaded from ")
    assert type(model.module) is tinybert.BertForTokenClassification
    with pytest.raises(ValueError, match="tensors of FlaxBertModel, without its head, were found"):
        tinybert.FlaxBertModel.from_pretrained(tmp_path, num_hidden_layers=9)


def test_long_arrays_are_saved_in_parts(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    scalar = np.array(3, np.float32)
    tree = {"a": {"kernel": array, "bias": array[0], "count": scalar}}
    save_msgpack(tree, tmp_path / "flax_model.msgpack", chunk=40)
    with FlaxFile(tmp_path / "flax_model.msgpack") as reader:
        assert (reader["a.weight"] == array.T).all()
        assert (reader["a.bias"] == array[0]).all()
        assert reader["a.count"] == 3
    with pytest.raises(TypeError, match="complex64 cannot be saved"):
        save_msgpack({"a": np.ones(2, np.complex64)}, tmp_path / "flax_model.msgpack")
